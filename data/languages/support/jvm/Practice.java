package autocodegen;

import static org.junit.jupiter.api.Assertions.*;

import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.DisplayName;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Test;

/** Tests like those to come: the classes they load go into the archive that later JVMs start from. */
class Practice {
    private List<Integer> numbers;

    @BeforeEach
    void prepare() {
        numbers = new ArrayList<>(List.of(1, 2));
    }

    @Test
    void equal() {
        assertEquals(2, numbers.size());
        assertEquals("a" + numbers.size(), String.format("%s%d", "a", 2));
        assertEquals(1.0, 1.1, 0.2);
        assertEquals(List.of(1, 2), numbers);
        assertArrayEquals(new int[] {1}, new int[] {1});
        assertTrue(numbers.stream().map(n -> n * 2).anyMatch(n -> n == 4));
        assertFalse(numbers.isEmpty());
        assertNull(null);
        assertNotNull(numbers);
    }

    @Test
    @DisplayName("throws")
    void failing() {
        assertThrows(IllegalStateException.class, () -> {
            throw new IllegalStateException("as it should");
        });
        assertAll(() -> assertSame(numbers, numbers), () -> assertNotEquals(1, 2));
    }

    @Nested
    class Inner {
        @Test
        void nested() {
            assertEquals(2, numbers.get(1));
        }
    }
}
