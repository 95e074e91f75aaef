package autocodegen;

import java.io.ByteArrayInputStream;
import java.io.DataInputStream;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * The annotations that a class file keeps for run time, by their descriptors, e.g. {@code Lorg/junit/jupiter/api/Test;}.
 * Reflection makes classes of their types, which takes longer than running a small test.
 */
final class ClassFile {
    /** Of the class and its fields. */
    final List<String> annotations = new ArrayList<>();
    /** Of its methods, by name and descriptor, e.g. {@code test()V}. */
    final Map<String, List<String>> methods = new HashMap<>();

    private final DataInputStream in;
    private final String[] texts;

    /** Reads a file that a compiler has just written; what is not understood is an {@code IOException}. */
    ClassFile(File file) throws IOException {
        in = new DataInputStream(new ByteArrayInputStream(Files.readAllBytes(file.toPath())));
        // Magic number and version.
        skip(8);
        texts = new String[in.readUnsignedShort()];
        for (int i = 1; i < texts.length; i++) {
            int tag = in.readUnsignedByte();
            switch (tag) {
                case 1: texts[i] = in.readUTF(); break;
                case 7: case 8: case 16: case 19: case 20: skip(2); break;
                case 15: skip(3); break;
                case 3: case 4: case 9: case 10: case 11: case 12: case 17: case 18: skip(4); break;
                // Eight bytes take two places.
                case 5: case 6: skip(8); i++; break;
                default: throw new IOException("constant of an unknown kind");
            }
        }
        // Access, class, superclass.
        skip(6);
        skip(2 * in.readUnsignedShort());
        for (int count = in.readUnsignedShort(); count > 0; count--) {
            skip(6);
            attributes(annotations);
        }
        for (int count = in.readUnsignedShort(); count > 0; count--) {
            skip(2);
            String name = text().concat(text());
            List<String> found = new ArrayList<>();
            attributes(found);
            methods.put(name, found);
        }
        attributes(annotations);
    }

    private void attributes(List<String> found) throws IOException {
        for (int count = in.readUnsignedShort(); count > 0; count--) {
            String name = text();
            int length = in.readInt();
            if (name.equals("RuntimeVisibleAnnotations")) {
                for (int more = in.readUnsignedShort(); more > 0; more--) {
                    found.add(annotation());
                }
            } else {
                skip(length);
            }
        }
    }

    private String annotation() throws IOException {
        String type = text();
        for (int count = in.readUnsignedShort(); count > 0; count--) {
            skip(2);
            value();
        }
        return type;
    }

    private void value() throws IOException {
        switch (in.readUnsignedByte()) {
            case 'e': skip(4); break;
            case '@': annotation(); break;
            case '[':
                for (int count = in.readUnsignedShort(); count > 0; count--) {
                    value();
                }
                break;
            default: skip(2);
        }
    }

    private String text() throws IOException {
        String text = texts[in.readUnsignedShort()];
        if (text == null) {
            throw new IOException("a name is not a text");
        }
        return text;
    }

    private void skip(int count) throws IOException {
        if (in.skipBytes(count) != count) {
            throw new IOException("too short");
        }
    }
}
