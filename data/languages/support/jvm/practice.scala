// A script like those to come: what it loads goes into the archive that later JVMs start from.
case class Point(x: Int, y: Int)

def sum(points: Seq[Point]): Int = points.map(p => p.x + p.y).filter(_ > 0).sum

val points = List(Point(1, 2), Point(3, 4))
assert(sum(points) == 10)
val byX = points.groupBy(_.x).map { case (x, found) => x -> found.size }
assert(byX.keys.toSeq.sorted.mkString(",") == "1,3", s"by x: $byX")
val seen = scala.collection.mutable.Map.empty[Int, String]
for (i <- 1 to 3; if i % 2 == 1) seen(i) = "a" * i
println(f"${seen.size}%d ${Vector(3, 1, 2).sorted} ${"abc".reverse} ${Set(1, 2)} ${Array(1, 2).sum}")
try throw new IllegalStateException("as it should")
catch { case e: IllegalStateException => println(e.getMessage) }
