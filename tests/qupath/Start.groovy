// Opens the desk. Arguments: its source.

new GroovyClassLoader(getClass().classLoader).parseClass(new File(args[0])).main()
