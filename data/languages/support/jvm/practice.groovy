// A script like those to come: what it loads goes into the archive that later JVMs start from.
class Point {
    int x
    int y

    static int sum(List<Point> points) {
        points.collect { it.x + it.y }.findAll { it > 0 }.sum()
    }
}

void test() {
    def points = [new Point(x: 1, y: 2), new Point(x: 3, y: 4)]
    assert Point.sum(points) == 10
    assert points.groupBy { it.x }.collectEntries { x, found -> [x, found.size()] } == [1: 1, 3: 1]
    def text = ('a'..'e').join('')
    println("${text.reverse()} ${[3, 1, 2].sort()} ${(1..3).inject(0) { a, b -> a + b }} ${10.intdiv(3)} ${2 ** 5}")
    for (int i = 0; i < 3; i++) {
        assert i in [0, 1, 2]
    }
    try {
        throw new IllegalStateException('as it should')
    } catch (IllegalStateException e) {
        println(e.message)
    }
    try {
        assert 1 == 2
    } catch (AssertionError e) {
        println(e.message.size() > 0)
    }
}

test()
