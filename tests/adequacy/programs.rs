//! One problem in each native language, with tests of four kinds.

/// What is bought costs 12 apiece; members who buy 10 or more get a tenth off; less than 1 cannot be bought.
pub struct Price {
    pub language: &'static str,
    pub solution: &'static str,
    /// Looks at all cases.
    pub good: &'static str,
    /// Asserts nothing.
    pub silent: &'static str,
    /// Asserts what holds of any result.
    pub constant: &'static str,
    /// Looks at one case.
    pub weak: &'static str,
}

pub const PRICES: [Price; 6] = [
    Price {
        language: "python",
        solution: "def price(units, member):
    if units < 1:
        return -1
    total = units * 12
    if member and units >= 10:
        total = total - total // 10
    return total
",
        good: "def test():
    assert price(0, True) == -1
    assert price(1, False) == 12
    assert price(9, True) == 108
    assert price(10, True) == 108
    assert price(10, False) == 120
    assert price(20, True) == 216

if __name__ == '__main__':
    test()
",
        silent: "def test():
    print(price(10, True))

if __name__ == '__main__':
    test()
",
        constant: "def test():
    price(1, False)
    assert 12 == 12

if __name__ == '__main__':
    test()
",
        weak: "def test():
    assert price(0, False) == -1

if __name__ == '__main__':
    test()
",
    },
    Price {
        language: "javascript",
        solution: "function price(units, member) {
  if (units < 1) {
    return -1;
  }
  let total = units * 12;
  if (member && units >= 10) {
    total = total - Math.floor(total / 10);
  }
  return total;
}
",
        good: "const assert = require('assert');
function fullTesting() {
  assert.strictEqual(price(0, true), -1);
  assert.strictEqual(price(1, false), 12);
  assert.strictEqual(price(9, true), 108);
  assert.strictEqual(price(10, true), 108);
  assert.strictEqual(price(10, false), 120);
  assert.strictEqual(price(20, true), 216);
}
fullTesting();
",
        silent: "function fullTesting() {
  console.log(price(10, true));
}
fullTesting();
",
        constant: "const assert = require('assert');
function fullTesting() {
  assert(price(10, true) !== null);
  assert.strictEqual(typeof price, 'function');
}
fullTesting();
",
        weak: "const assert = require('assert');
function fullTesting() {
  assert.strictEqual(price(0, false), -1);
}
fullTesting();
",
    },
    Price {
        language: "java",
        solution: "class Shop {
    static int price(int units, boolean member) {
        if (units < 1) {
            return -1;
        }
        int total = units * 12;
        if (member && units >= 10) {
            total = total - total / 10;
        }
        return total;
    }
}
",
        good: "import org.junit.jupiter.api.Test;
import static org.junit.jupiter.api.Assertions.assertEquals;

class ShopTest {
    @Test
    void test() {
        assertEquals(-1, Shop.price(0, true));
        assertEquals(12, Shop.price(1, false));
        assertEquals(108, Shop.price(9, true));
        assertEquals(108, Shop.price(10, true));
        assertEquals(120, Shop.price(10, false));
        assertEquals(216, Shop.price(20, true));
    }
}
",
        silent: "import org.junit.jupiter.api.Test;

class ShopTest {
    @Test
    void test() {
        System.out.println(Shop.price(10, true));
    }
}
",
        constant: "import org.junit.jupiter.api.Test;
import static org.junit.jupiter.api.Assertions.assertTrue;

class ShopTest {
    @Test
    void test() {
        assertTrue(Shop.price(10, true) > -5);
    }
}
",
        weak: "import org.junit.jupiter.api.Test;
import static org.junit.jupiter.api.Assertions.assertEquals;

class ShopTest {
    @Test
    void test() {
        assertEquals(-1, Shop.price(0, false));
    }
}
",
    },
    Price {
        language: "cpp",
        solution: "int price(int units, bool member) {
    if (units < 1) {
        return -1;
    }
    int total = units * 12;
    if (member && units >= 10) {
        total = total - total / 10;
    }
    return total;
}
",
        good: "#include <cassert>
int main() {
    assert(price(0, true) == -1);
    assert(price(1, false) == 12);
    assert(price(9, true) == 108);
    assert(price(10, true) == 108);
    assert(price(10, false) == 120);
    assert(price(20, true) == 216);
}
",
        silent: "#include <iostream>
int main() {
    std::cout << price(10, true) << std::endl;
}
",
        constant: "#include <cassert>
int main() {
    assert(price(10, true) > -5);
}
",
        weak: "#include <cassert>
int main() {
    assert(price(0, false) == -1);
}
",
    },
    Price {
        language: "go",
        solution: "package main

func price(units int, member bool) int {
	if units < 1 {
		return -1
	}
	total := units * 12
	if member && units >= 10 {
		total = total - total/10
	}
	return total
}
",
        good: "package main

import \"testing\"

func TestFull(t *testing.T) {
	for _, c := range []struct {
		units  int
		member bool
		want   int
	}{{0, true, -1}, {1, false, 12}, {9, true, 108}, {10, true, 108}, {10, false, 120}, {20, true, 216}} {
		if got := price(c.units, c.member); got != c.want {
			t.Fatalf(\"%v: %d\", c, got)
		}
	}
}
",
        silent: "package main

import \"testing\"

func TestFull(t *testing.T) {
	t.Log(price(10, true))
}
",
        constant: "package main

import \"testing\"

func TestFull(t *testing.T) {
	if price(10, true) < -5 {
		t.Fatal(\"less\")
	}
}
",
        weak: "package main

import \"testing\"

func TestFull(t *testing.T) {
	if price(0, false) != -1 {
		t.Fatal(\"none\")
	}
}
",
    },
    Price {
        language: "shell",
        solution: "price() {
  local units=$1 member=$2
  if [ \"$units\" -lt 1 ]; then
    echo -1
    return 1
  fi
  local total=$((units * 12))
  if [ \"$member\" = yes ] && [ \"$units\" -ge 10 ]; then
    total=$((total - total / 10))
  fi
  echo \"$total\"
}
",
        good: "check() {
  local got
  got=$(price \"$1\" \"$2\")
  if [ \"$got\" != \"$3\" ]; then
    echo \"price $1 $2: $got\"
    exit 1
  fi
}
test() {
  check 0 yes -1
  check 1 no 12
  check 9 yes 108
  check 10 yes 108
  check 10 no 120
  check 20 yes 216
  if price 0 no > /dev/null; then
    exit 1
  fi
}
test
",
        silent: "test() {
  price 10 yes
}
test
",
        constant: "test() {
  local got
  got=$(price 10 yes)
  if [ \"$got\" = nothing ]; then
    exit 1
  fi
}
test
",
        weak: "test() {
  if [ \"$(price 0 no)\" != -1 ]; then
    exit 1
  fi
}
test
",
    },
];
