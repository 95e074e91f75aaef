package autocodegen;

import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.io.PrintWriter;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.stream.Stream;
import javax.tools.JavaCompiler;
import javax.tools.StandardJavaFileManager;
import javax.tools.ToolProvider;

/**
 * Compiles on request, again and again: {@code CompileServer javac|kotlinc|scalac}; with arguments after that, once
 * with these.
 *
 * <p>Requests come through descriptor 3, replies go through descriptor 4. Each is a number of fields, and of each field
 * its length and its bytes; numbers are 32 bits, the highest first. A request: the number of arguments, the arguments,
 * then name and text of each source file. A reply: the exit code, the CPU time in ms, what the compiler said, then name
 * and bytes of each file it made. Sources are in the current folder while they are compiled, and nothing is after.
 */
public final class CompileServer {
    private static final Path WORK = Path.of("").toAbsolutePath();

    private CompileServer() {}

    private interface Compiler {
        int compile(String[] arguments, PrintStream said) throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        ByteArrayOutputStream said = new ByteArrayOutputStream();
        PrintStream capture = new PrintStream(said, true, StandardCharsets.UTF_8);
        // Some compilers take hold of the streams when they are loaded.
        System.setOut(capture);
        System.setErr(capture);
        Compiler compiler = compiler(arguments[0]);
        if (arguments.length > 1) {
            System.exit(compiler.compile(Arrays.copyOfRange(arguments, 1, arguments.length), capture));
        }
        try (DataInputStream in = new DataInputStream(new FileInputStream("/dev/fd/3"));
                DataOutputStream out = new DataOutputStream(new FileOutputStream("/dev/fd/4"))) {
            for (int count = in.readInt(); ; count = in.readInt()) {
                List<byte[]> fields = new ArrayList<>();
                for (int i = 0; i < count; i++) {
                    fields.add(in.readNBytes(in.readInt()));
                }
                List<byte[]> reply = serve(compiler, fields, said, capture);
                ByteArrayOutputStream packed = new ByteArrayOutputStream();
                DataOutputStream packer = new DataOutputStream(packed);
                packer.writeInt(reply.size());
                for (byte[] field : reply) {
                    packer.writeInt(field.length);
                    packer.write(field);
                }
                packed.writeTo(out);
                out.flush();
            }
        }
    }

    private static List<byte[]> serve(
            Compiler compiler, List<byte[]> request, ByteArrayOutputStream said, PrintStream capture)
            throws Exception {
        long before = cpuMillis();
        int arguments = Integer.parseInt(text(request.get(0)));
        String[] command = new String[arguments];
        for (int i = 0; i < arguments; i++) {
            command[i] = text(request.get(1 + i));
        }
        List<Path> sources = new ArrayList<>();
        for (int at = 1 + arguments; at + 1 < request.size(); at += 2) {
            Path source = WORK.resolve(text(request.get(at)));
            Files.write(source, request.get(at + 1));
            sources.add(source);
        }
        said.reset();
        int code = compiler.compile(command, capture);
        capture.flush();
        List<byte[]> reply = new ArrayList<>();
        reply.add(bytes(Integer.toString(code)));
        reply.add(bytes(Long.toString(cpuMillis() - before)));
        reply.add(said.toByteArray());
        for (Path source : sources) {
            Files.delete(source);
        }
        clear(code == 0 ? reply : null);
        return reply;
    }

    /** Empties the work folder; puts the files that were in it into {@code reply}. */
    private static void clear(List<byte[]> reply) throws IOException {
        List<Path> paths;
        try (Stream<Path> found = Files.walk(WORK)) {
            paths = found.filter(path -> !path.equals(WORK)).sorted(Comparator.reverseOrder()).toList();
        }
        for (Path path : paths) {
            if (reply != null && Files.isRegularFile(path)) {
                reply.add(bytes(WORK.relativize(path).toString()));
                reply.add(Files.readAllBytes(path));
            }
            Files.delete(path);
        }
    }

    private static Compiler compiler(String name) throws Exception {
        switch (name) {
            case "javac": {
                JavaCompiler javac = ToolProvider.getSystemJavaCompiler();
                // Keeps the libraries' files open.
                StandardJavaFileManager files =
                        javac.getStandardFileManager(null, null, StandardCharsets.UTF_8);
                return (arguments, said) -> {
                    List<String> options = Arrays.asList(arguments).subList(0, arguments.length - 1);
                    Files.createDirectories(WORK.resolve("classes"));
                    PrintWriter out = new PrintWriter(said, true, StandardCharsets.UTF_8);
                    boolean compiled = javac.getTask(
                            out, files, null, options, null,
                            files.getJavaFileObjects(arguments[arguments.length - 1])).call();
                    out.flush();
                    return compiled ? 0 : 1;
                };
            }
            case "kotlinc": {
                Class<?> kotlinc = Class.forName("org.jetbrains.kotlin.cli.jvm.K2JVMCompiler");
                return (arguments, said) -> {
                    Object compiler = kotlinc.getConstructor().newInstance();
                    Object code = kotlinc.getMethod("exec", PrintStream.class, String[].class)
                            .invoke(compiler, said, arguments);
                    return (int) code.getClass().getMethod("getCode").invoke(code);
                };
            }
            case "scalac": {
                Class<?> scalac = Class.forName("scala.tools.nsc.MainClass");
                return (arguments, said) -> {
                    Object compiler = scalac.getConstructor().newInstance();
                    Object compiled = scalac.getMethod("process", String[].class).invoke(compiler, (Object) arguments);
                    return (boolean) compiled ? 0 : 1;
                };
            }
            default:
                throw new IllegalArgumentException(name);
        }
    }

    private static long cpuMillis() {
        return ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean())
                .getProcessCpuTime() / 1_000_000;
    }

    private static String text(byte[] field) {
        return new String(field, StandardCharsets.UTF_8);
    }

    private static byte[] bytes(String field) {
        return field.getBytes(StandardCharsets.UTF_8);
    }
}
