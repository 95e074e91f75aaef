package autocodegen;

import java.io.IOException;
import java.lang.annotation.Annotation;
import java.lang.reflect.AccessibleObject;
import java.lang.reflect.Constructor;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Set;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.DisplayName;
import org.junit.jupiter.api.Test;
import org.opentest4j.TestAbortedException;

/**
 * Runs the simplest of tests as JUnit does, without starting JUnit, which takes longer than everything else of a small
 * program. For whatever is not quite so simple {@link #find} says that JUnit itself is needed.
 */
final class PlainTests {
    private static final Set<Class<?>> KNOWN =
            Set.of(Test.class, BeforeEach.class, AfterEach.class, DisplayName.class);
    private static final int FRAMES = 10;

    private final List<Class<?>> classes = new ArrayList<>();
    private final List<String> failures = new ArrayList<>();

    private PlainTests() {}

    /** The tests below {@code folder}; null when they need JUnit, or there are none. */
    static PlainTests find(Path folder) {
        PlainTests tests = new PlainTests();
        try (Stream<Path> files = Files.walk(folder)) {
            List<Class<?>> all = new ArrayList<>();
            for (Path file : files.sorted().toList()) {
                String name = folder.relativize(file).toString();
                if (name.endsWith(".class")) {
                    name = name.substring(0, name.length() - ".class".length()).replace('/', '.');
                    all.add(Class.forName(name, false, PlainTests.class.getClassLoader()));
                }
            }
            for (Class<?> type : all) {
                if (!tests.add(type)) {
                    return null;
                }
            }
            // Tests are inherited.
            boolean inherited = all.stream().anyMatch(type -> tests.classes.contains(type.getSuperclass()));
            return tests.classes.isEmpty() || inherited ? null : tests;
        } catch (IOException | ReflectiveOperationException | LinkageError error) {
            return null;
        }
    }

    /** Whether what is said of this class by annotations, if anything, is known here. */
    private boolean add(Class<?> type) throws ReflectiveOperationException {
        boolean marked = false;
        for (Method method : type.getDeclaredMethods()) {
            if (!isKnown(method.getAnnotations())) {
                return false;
            }
            if (marks(method)) {
                boolean simple = method.getParameterCount() == 0 && method.getReturnType() == void.class
                        && (method.getModifiers() & (Modifier.STATIC | Modifier.PRIVATE | Modifier.ABSTRACT)) == 0;
                if (!simple) {
                    return false;
                }
                marked = true;
            }
        }
        for (AccessibleObject field : type.getDeclaredFields()) {
            if (!isKnown(field.getAnnotations())) {
                return false;
            }
        }
        if (!isKnown(type.getAnnotations())) {
            return false;
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

    private static boolean isKnown(Annotation[] annotations) {
        for (Annotation annotation : annotations) {
            Class<?> type = annotation.annotationType();
            // One of the program's own may itself be made of JUnit's.
            if (!KNOWN.contains(type) && !type.getName().startsWith("java.")) {
                return false;
            }
        }
        return true;
    }

    private static boolean marks(Method method) {
        return KNOWN.stream().anyMatch(type -> method.isAnnotationPresent(type.asSubclass(Annotation.class)));
    }

    /** Runs them all; whether none failed. */
    boolean run() throws ReflectiveOperationException {
        for (Class<?> type : classes) {
            for (Method test : marked(type, Test.class)) {
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
    private static Throwable run(Class<?> type, Method test) throws ReflectiveOperationException {
        Constructor<?> constructor = type.getDeclaredConstructor();
        constructor.setAccessible(true);
        Object object;
        try {
            object = constructor.newInstance();
        } catch (InvocationTargetException failed) {
            return failed.getCause();
        }
        Throwable failure = null;
        for (Method before : marked(type, BeforeEach.class)) {
            failure = failure == null ? call(before, object) : failure;
        }
        failure = failure == null ? call(test, object) : failure;
        for (Method after : marked(type, AfterEach.class)) {
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
    private static List<Method> marked(Class<?> type, Class<? extends Annotation> annotation) {
        List<Method> found = new ArrayList<>();
        for (Method method : type.getDeclaredMethods()) {
            if (method.isAnnotationPresent(annotation)) {
                found.add(method);
            }
        }
        found.sort(Comparator.comparingInt((Method method) -> method.getName().hashCode())
                .thenComparing(Method::toString));
        return found;
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
