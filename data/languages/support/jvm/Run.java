package autocodegen;

import java.io.IOException;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;

/** Runs a program and says, where asked to, that it ran to its end. */
public final class Run {
    private static boolean strict;

    private Run() {}

    /**
     * {@code strict|lenient main CLASS [ARGUMENT...]} calls the class's {@code main}; {@code strict|lenient script
     * CLASS} makes an object of a class that the Kotlin compiler made of a script.
     */
    public static void main(String[] arguments) throws Throwable {
        strict = arguments[0].equals("strict");
        boolean isScript = arguments[1].equals("script");
        Class<?> program = Class.forName(arguments[2]);
        try {
            if (isScript) {
                program.getConstructor(String[].class).newInstance((Object) new String[0]);
            } else {
                Method main = program.getDeclaredMethod("main", String[].class);
                main.setAccessible(true);
                main.invoke(null, (Object) Arrays.copyOfRange(arguments, 3, arguments.length));
            }
        } catch (InvocationTargetException failed) {
            Throwable thrown = failed.getCause();
            hideOwnFrames(thrown);
            if (isScript) {
                thrown.printStackTrace();
                System.out.flush();
                System.exit(3);
            }
            throw thrown;
        }
        complete();
    }

    /** What the tests call instead of {@link System#exit}: an end that they choose themselves is their end. */
    public static void exit(int code) {
        if (code == 0) {
            complete();
        }
        System.exit(code);
    }

    /** The same for {@code sys.exit()}. */
    public static void exit() {
        exit(0);
    }

    /** Says that the tests ran to their end. */
    static void complete() {
        if (!strict) {
            return;
        }
        try {
            Files.write(Path.of("/dev/fd/4"), Files.readAllBytes(Path.of("/dev/fd/3")));
        } catch (IOException error) {
            System.err.println("cannot say that the tests have ended: " + error);
        }
    }

    static void beStrict() {
        strict = true;
    }

    /** Leaves a stack trace as it is when nothing but the program runs. */
    private static void hideOwnFrames(Throwable thrown) {
        StackTraceElement[] frames = thrown.getStackTrace();
        int kept = frames.length;
        while (kept > 0 && !frames[kept - 1].getClassName().startsWith("jdk.internal.reflect.")) {
            kept--;
        }
        while (kept > 0 && isReflection(frames[kept - 1].getClassName())) {
            kept--;
        }
        if (kept > 0) {
            thrown.setStackTrace(Arrays.copyOf(frames, kept));
        }
    }

    private static boolean isReflection(String name) {
        return name.startsWith("jdk.internal.reflect.") || name.startsWith("java.lang.reflect.");
    }
}
