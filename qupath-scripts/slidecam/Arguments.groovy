package slidecam

/**
 * What a script was told: `name=value` arguments over its own settings.
 *
 * In QuPath's window a script has no arguments and its settings are edited at its top; on the command line each
 * setting is one `-a name=value`.
 */
class Arguments {

    /** Return the settings with what the arguments change; a name that is not among them is refused. */
    static Map<String, String> over(Map settings, String[] args) {
        Map<String, String> told = [:]
        settings.each { name, value -> told[name.toString()] = value == null ? '' : value.toString() }
        for (String arg in (args ?: new String[0])) {
            int equals = arg.indexOf('=')
            String name = equals < 0 ? arg : arg.substring(0, equals)
            if (equals < 0 || !told.containsKey(name))
                throw new IllegalArgumentException("'${arg}' is no setting. Pass name=value; the names are ${told.keySet().join(', ')}.")
            told[name] = arg.substring(equals + 1)
        }
        return told
    }

    /** Return a setting as a number from `low` to `high`. */
    static double number(Map<String, String> settings, String name, double low, double high) {
        String text = settings[name]
        Double value = text.isDouble() ? text.toDouble() : null
        if (value == null || !(value >= low && value <= high))
            throw new IllegalArgumentException("${name}=${text} is no number from ${low} to ${high}.")
        return value
    }
}
