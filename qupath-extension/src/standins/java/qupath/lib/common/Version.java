package qupath.lib.common;

public final class Version {
    public static final Version UNKNOWN = new Version("unknown");
    private final String text;

    private Version(String text) {
        this.text = text;
    }

    public static Version parse(String versionString) throws IllegalArgumentException {
        return new Version(versionString);
    }

    @Override
    public String toString() {
        return text;
    }
}
