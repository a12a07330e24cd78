import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/** Work for Java: Run ROUNDS */
public class Run {
	interface Shape {
		long area();
	}

	record Box(long width, long height) implements Shape {
		public long area() {
			return width * height;
		}
	}

	record Square(long side) implements Shape {
		public long area() {
			return side * side;
		}
	}

	static long shapes(Random random) {
		List<Shape> all = new ArrayList<>();
		for (int i = 0; i < 40000; i++)
			all.add(random.nextBoolean() ? new Square(random.nextInt(100))
					: new Box(random.nextInt(100), random.nextInt(100)));
		return all.stream().mapToLong(Shape::area).filter(area -> area > 50).sum();
	}

	static String words(Random random) {
		String[] syllables = {"ka", "to", "mi", "ra", "ne", "so", "lu"};
		StringBuilder text = new StringBuilder();
		for (int i = 0; i < 20000; i++) {
			for (int j = random.nextInt(3); j >= 0; j--)
				text.append(syllables[random.nextInt(7)]);
			text.append(' ');
		}
		Map<String, Integer> counts = new HashMap<>();
		for (String word : text.toString().split(" "))
			counts.merge(word, 1, Integer::sum);
		return new TreeMap<>(counts).entrySet().stream()
				.sorted(Map.Entry.<String, Integer>comparingByValue().reversed())
				.limit(10).map(Object::toString).collect(Collectors.joining(","));
	}

	static double matrix() {
		int n = 120;
		double[][] a = new double[n][n], b = new double[n][n];
		for (int i = 0; i < n; i++)
			for (int j = 0; j < n; j++) {
				a[i][j] = (i + j) % 7;
				b[i][j] = i * j % 5;
			}
		return IntStream.range(0, n).mapToDouble(i -> {
			double sum = 0;
			for (int j = 0; j < n; j++)
				for (int k = 0; k < n; k++)
					sum += a[i][k] * b[k][j];
			return sum;
		}).sum();
	}

	public static void main(String[] arguments) {
		Random random = new Random(1);
		for (int round = Integer.parseInt(arguments[0]); round > 0; round--)
			System.out.println(shapes(random) + " " + words(random) + " " + matrix());
	}
}
