# shellcheck shell=bash
# A big Java program: the compiler, over some packages of Java's own library.

prepare()
{
	local source=/usr/share/java-source package

	for package in jar regex; do
		(cd "$source" && cp -R --parents "java.base/java/util/$package" "$OLDPWD")
	done
	find java.base -name '*.java' | sort | head -n "$(part 21)" >list
}

work()
{
	javac -nowarn -J-Xmx512m -XDignore.symbol.file --patch-module java.base=java.base \
		-implicit:none -d out @list
}

result()
{
	find out -name '*.class' | sort | xargs sha256sum
}
