package autocodegen;

import static org.junit.jupiter.api.Assertions.*;

import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** What {@link Practice} is for JUnit, for {@link PlainTests}. */
class PlainPractice {
    private List<Integer> numbers;

    @BeforeEach
    void prepare() {
        numbers = new ArrayList<>(List.of(1, 2));
    }

    @Test
    void equal() {
        assertEquals(2, numbers.size());
        assertEquals(List.of(1, 2), numbers);
        assertThrows(IndexOutOfBoundsException.class, () -> numbers.get(2));
    }

    @Test
    void failing() {
        throw new IllegalStateException("as it should");
    }
}
