package qupath.ext.slidecam;

import java.util.Map;
import java.util.Properties;
import qupath.lib.gui.QuPathGUI;
import qupath.lib.images.ImageData;
import qupath.lib.scripting.ScriptAttributes;

/**
 * The images of a project that a script runs for, one after the other: failures are counted, said at
 * the end, and end QuPath with a code that is not 0 where it runs without a window.
 */
final class Batch {

    private static final String FAILED = "slidecam.batch.failed";
    private static final String COUNT = "slidecam.batch.count";

    private Batch() {
    }

    /** Work on one image; its exception goes on, after it was counted. */
    interface Work<T> {
        T go() throws Exception;
    }

    static <T> T counted(Map<?, ?> binding, ImageData<?> imageData, Work<T> work) throws Exception {
        int index = number(binding, ScriptAttributes.BATCH_INDEX, 0);
        int size = number(binding, ScriptAttributes.BATCH_SIZE, 1);
        Properties known = System.getProperties();
        if (index == 0) {
            known.remove(FAILED);
            known.remove(COUNT);
        }
        try {
            return work.go();
        } catch (Exception error) {
            failed(known, nameOf(imageData));
            throw error;
        } finally {
            if (size > 1 && index == size - 1 && known.containsKey(FAILED))
                Engine.LOG.error("{} of {} images failed: {}", known.get(COUNT), size, known.get(FAILED));
        }
    }

    private static void failed(Properties known, String name) {
        boolean first = !known.containsKey(FAILED);
        known.merge(FAILED, name, (before, more) -> before + ", " + more);
        known.merge(COUNT, "1", (before, one) -> Integer.toString(
                Integer.parseInt(before.toString()) + 1));
        // QuPath logs a failure of one image and ends with 0; nothing else is asked on its way out.
        if (first && QuPathGUI.getInstance() == null && !Boolean.getBoolean("slidecam.batch.hooked")) {
            System.setProperty("slidecam.batch.hooked", "true");
            Runtime.getRuntime().addShutdownHook(new Thread(() -> {
                if (System.getProperties().containsKey(FAILED))
                    Runtime.getRuntime().halt(1);
            }));
        }
    }

    private static String nameOf(ImageData<?> imageData) {
        return imageData == null ? "no image" : imageData.getServer().getMetadata().getName();
    }

    private static int number(Map<?, ?> binding, String name, int otherwise) {
        return binding.get(name) instanceof Number number ? number.intValue() : otherwise;
    }
}
