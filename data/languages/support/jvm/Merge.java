package autocodegen;

import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import java.util.jar.Attributes;
import java.util.jar.JarEntry;
import java.util.jar.JarFile;
import java.util.zip.CRC32;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;

/**
 * Makes one archive of all on a class path: a JVM reads the tables of contents of all archives before a program's own
 * classes, and those that manifests name are many.
 */
public final class Merge {
    private Merge() {}

    /** {@code ARCHIVE CLASSPATH}. */
    public static void main(String[] arguments) throws IOException {
        Deque<Path> wanted = new ArrayDeque<>();
        for (String name : arguments[1].split(File.pathSeparator)) {
            wanted.add(Path.of(name));
        }
        Map<String, byte[]> contents = new LinkedHashMap<>();
        Set<Path> seen = new HashSet<>();
        while (!wanted.isEmpty()) {
            Path archive = wanted.remove();
            // Manifests may name what is not there.
            if (Files.exists(archive) && seen.add(archive.toRealPath())) {
                add(archive, contents, wanted);
            }
        }
        try (ZipOutputStream out = new ZipOutputStream(Files.newOutputStream(Path.of(arguments[0])))) {
            out.setMethod(ZipOutputStream.STORED);
            for (Map.Entry<String, byte[]> content : contents.entrySet()) {
                CRC32 sum = new CRC32();
                sum.update(content.getValue());
                ZipEntry entry = new ZipEntry(content.getKey());
                entry.setSize(content.getValue().length);
                entry.setCrc(sum.getValue());
                // The same archive from the same files.
                entry.setTime(0);
                out.putNextEntry(entry);
                out.write(content.getValue());
            }
        }
    }

    /** Adds what is not there yet, as it is for this version of Java; lists of services are joined. */
    private static void add(Path archive, Map<String, byte[]> contents, Deque<Path> wanted) throws IOException {
        try (JarFile jar = new JarFile(archive.toFile(), false, JarFile.OPEN_READ, JarFile.runtimeVersion())) {
            String more = jar.getManifest() == null
                    ? null
                    : jar.getManifest().getMainAttributes().getValue(Attributes.Name.CLASS_PATH);
            for (String name : more == null ? new String[0] : more.trim().split("\\s+")) {
                wanted.add(archive.resolveSibling(name));
            }
            for (JarEntry entry : (Iterable<JarEntry>) jar.versionedStream()::iterator) {
                String name = entry.getName();
                boolean services = name.startsWith("META-INF/services/");
                if (entry.isDirectory() || name.equals("module-info.class")
                        || name.startsWith("META-INF/") && !services) {
                    continue;
                }
                try (InputStream in = jar.getInputStream(entry)) {
                    byte[] content = in.readAllBytes();
                    byte[] before = contents.putIfAbsent(name, content);
                    if (before != null && services) {
                        ByteArrayOutputStream both = new ByteArrayOutputStream();
                        both.write(before);
                        both.write('\n');
                        both.write(content);
                        contents.put(name, both.toByteArray());
                    }
                }
            }
        }
    }
}
