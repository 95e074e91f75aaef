package autocodegen;

import java.io.File;
import java.io.IOException;
import java.lang.reflect.Constructor;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.opentest4j.TestAbortedException;

/**
 * Runs the simplest of tests as JUnit does, without starting JUnit, which takes longer than everything else of a small
 * program. For whatever is not quite so simple {@link #find} says that JUnit itself is needed. Streams and lambdas,
 * and annotations by reflection, are left out: their classes would be made anew in every JVM.
 */
final class PlainTests {
    private static final String API = "Lorg/junit/jupiter/api/";
    private static final String TEST = API.concat("Test;");
    private static final String BEFORE = API.concat("BeforeEach;");
    private static final String AFTER = API.concat("AfterEach;");
    private static final List<String> MARKS = List.of(TEST, BEFORE, AFTER);
    private static final String DISPLAY_NAME = API.concat("DisplayName;");
    private static final Comparator<Method> ORDER = new Order();
    private static final int FRAMES = 10;

    private final List<Class<?>> classes = new ArrayList<>();
    private final Map<Class<?>, ClassFile> files = new LinkedHashMap<>();
    private final List<String> failures = new ArrayList<>();

    private PlainTests() {}

    /** The tests below {@code folder}; null when they need JUnit, or there are none. */
    static PlainTests find(Path folder) {
        PlainTests tests = new PlainTests();
        try {
            if (!tests.load(folder.toFile(), "")) {
                return null;
            }
            for (Class<?> type : tests.files.keySet()) {
                if (!tests.add(type)) {
                    return null;
                }
            }
            // Tests are inherited.
            for (Class<?> type : tests.files.keySet()) {
                if (tests.classes.contains(type.getSuperclass())) {
                    return null;
                }
            }
            return tests.classes.isEmpty() ? null : tests;
        } catch (IOException | ReflectiveOperationException | LinkageError error) {
            return null;
        }
    }

    /** Loads the classes below {@code folder}, in the order of their names; false when it cannot be read. */
    private boolean load(File folder, String prefix) throws IOException, ReflectiveOperationException {
        String[] names = folder.list();
        if (names == null) {
            return false;
        }
        Arrays.sort(names);
        for (String name : names) {
            File file = new File(folder, name);
            if (name.endsWith(".class")) {
                String type = prefix.concat(name.substring(0, name.length() - ".class".length()));
                files.put(Class.forName(type, false, PlainTests.class.getClassLoader()), new ClassFile(file));
            } else if (file.isDirectory() && !load(file, prefix.concat(name).concat("."))) {
                return false;
            }
        }
        return true;
    }

    /** Whether what is said of this class by annotations, if anything, is known here. */
    private boolean add(Class<?> type) throws ReflectiveOperationException {
        ClassFile file = files.get(type);
        if (!isKnown(file.annotations)) {
            return false;
        }
        for (List<String> annotations : file.methods.values()) {
            if (!isKnown(annotations)) {
                return false;
            }
        }
        boolean marked = false;
        for (Map.Entry<String, List<String>> method : file.methods.entrySet()) {
            if (isMarked(method.getValue())) {
                String signature = method.getKey();
                if (!signature.endsWith("()V")) {
                    return false;
                }
                String name = signature.substring(0, signature.length() - "()V".length());
                int modifiers = type.getDeclaredMethod(name).getModifiers();
                if ((modifiers & (Modifier.STATIC | Modifier.PRIVATE | Modifier.ABSTRACT)) != 0) {
                    return false;
                }
                marked = true;
            }
        }
        if (!marked) {
            return true;
        }
        boolean simple = type.getSuperclass() == Object.class && type.getInterfaces().length == 0
                && type.getEnclosingClass() == null && !Modifier.isAbstract(type.getModifiers())
                && type.getDeclaredConstructors().length == 1
                && type.getDeclaredConstructors()[0].getParameterCount() == 0;
        classes.add(type);
        return simple;
    }

    private static boolean isKnown(List<String> annotations) {
        for (String annotation : annotations) {
            // One of the program's own may itself be made of JUnit's.
            if (!MARKS.contains(annotation) && !annotation.equals(DISPLAY_NAME) && !annotation.startsWith("Ljava/")) {
                return false;
            }
        }
        return true;
    }

    private static boolean isMarked(List<String> annotations) {
        for (String annotation : annotations) {
            if (MARKS.contains(annotation)) {
                return true;
            }
        }
        return false;
    }

    /** Runs them all; whether none failed. */
    boolean run() throws ReflectiveOperationException {
        for (Class<?> type : classes) {
            for (Method test : marked(type, TEST)) {
                Throwable failure = run(type, test);
                if (failure instanceof OutOfMemoryError) {
                    throw (OutOfMemoryError) failure;
                }
                if (failure != null && !(failure instanceof TestAbortedException)) {
                    failures.add(describe(type, test, failure));
                }
            }
        }
        return failures.isEmpty();
    }

    /** The failures as JUnit reports them. */
    String report() {
        return "\nFailures (" + failures.size() + "):\n" + String.join("", failures);
    }

    /** Each test has an object of its own. */
    private Throwable run(Class<?> type, Method test) throws ReflectiveOperationException {
        Constructor<?> constructor = type.getDeclaredConstructor();
        constructor.setAccessible(true);
        Object object;
        try {
            object = constructor.newInstance();
        } catch (InvocationTargetException failed) {
            return failed.getCause();
        }
        Throwable failure = null;
        for (Method before : marked(type, BEFORE)) {
            failure = failure == null ? call(before, object) : failure;
        }
        failure = failure == null ? call(test, object) : failure;
        for (Method after : marked(type, AFTER)) {
            Throwable later = call(after, object);
            if (failure == null) {
                failure = later;
            } else if (later != null && later != failure) {
                failure.addSuppressed(later);
            }
        }
        return failure;
    }

    private static Throwable call(Method method, Object object) throws IllegalAccessException {
        method.setAccessible(true);
        try {
            method.invoke(object);
            return null;
        } catch (InvocationTargetException failed) {
            return failed.getCause();
        }
    }

    /** The methods with this annotation in JUnit's order, which is no order to rely on, but always the same. */
    private List<Method> marked(Class<?> type, String annotation) throws ReflectiveOperationException {
        List<Method> found = new ArrayList<>();
        for (Map.Entry<String, List<String>> method : files.get(type).methods.entrySet()) {
            if (method.getValue().contains(annotation)) {
                String signature = method.getKey();
                found.add(type.getDeclaredMethod(signature.substring(0, signature.length() - "()V".length())));
            }
        }
        found.sort(ORDER);
        return found;
    }

    /** Of methods. */
    private static final class Order implements Comparator<Method> {
        @Override
        public int compare(Method a, Method b) {
            int byHash = Integer.compare(a.getName().hashCode(), b.getName().hashCode());
            return byHash != 0 ? byHash : a.toString().compareTo(b.toString());
        }
    }

    private static String describe(Class<?> type, Method test, Throwable failure) {
        StringBuilder text = new StringBuilder()
                .append("  JUnit Jupiter:").append(type.getSimpleName()).append(':').append(test.getName()).append("()\n")
                .append("    MethodSource [className = '").append(type.getName()).append("', methodName = '")
                .append(test.getName()).append("', methodParameterTypes = '']\n")
                .append("    => ").append(failure).append('\n');
        StackTraceElement[] frames = failure.getStackTrace();
        for (int i = 0; i < Math.min(FRAMES, frames.length); i++) {
            text.append("       ").append(frames[i]).append('\n');
        }
        return frames.length > FRAMES ? text.append("       [...]\n").toString() : text.toString();
    }
}
