// A script like those to come: what it loads goes into the archive that later JVMs start from.
data class Point(val x: Int, val y: Int)

fun sum(points: List<Point>): Int = points.map { it.x + it.y }.filter { it > 0 }.sum()

val points = mutableListOf(Point(1, 2), Point(3, 4))
val byX = points.groupBy { it.x }.mapValues { (_, found) -> found.size }
check(sum(points) == 10) { "sum of $points" }
require(byX.toSortedMap().keys.joinToString(",") == "1,3")
val text = buildString { for (c in 'a'..'e') append(c) }
println(text.reversed() + " " + listOf(3, 1, 2).sorted() + " " + (1..3).fold(0) { a, b -> a + b })
try {
    error("as it should")
} catch (e: IllegalStateException) {
    println("${e.message} ${setOf(1, 2)} ${mapOf(1 to "a")}")
}
