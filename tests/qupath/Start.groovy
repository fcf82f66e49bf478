// Compiles the stand-ins, all together and to class files as QuPath's are, and opens the desk with them.
// Arguments: the folder of the stand-ins, and one for their class files.

import org.codehaus.groovy.control.CompilationUnit
import org.codehaus.groovy.control.CompilerConfiguration

CompilationUnit unit = new CompilationUnit(new CompilerConfiguration(targetDirectory: new File(args[1])))
new File(args[0]).eachFileRecurse { if (it.name.endsWith('.groovy')) unit.addSource(it) }
unit.compile()
GroovyClassLoader loader = new GroovyClassLoader(getClass().classLoader)
loader.addClasspath(args[1])
loader.parseClass(new File(new File(args[0]).parentFile, 'Desk.groovy')).main()
