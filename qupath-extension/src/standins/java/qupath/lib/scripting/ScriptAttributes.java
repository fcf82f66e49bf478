package qupath.lib.scripting;

public class ScriptAttributes {
    public static final String ARGS = "args";
    public static final String FILE_PATH = "qupath.script.file";
    public static final String BATCH_SIZE = "qupath.script.batchSize";
    public static final String BATCH_INDEX = "qupath.script.batchIndex";
}
