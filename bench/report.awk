# The benchmarks' table in Markdown, from what run.sh measured. Its input has lines of fields
# separated by tabs:
#
#   note    TEXT
#   column  COLUMN  HEADING                               in the table's order
#   missing COLUMN  REASON
#   suite   COLUMN  PROGRAM CHECKSUM SECONDS GUEST        GUEST: SECONDS by the guest's own clock
#   system  COLUMN  ROW     VALUE                         ROW: user, off, cpu, start or memory
#
# Several lines for the same thing are several runs, of which the median counts.

BEGIN { FS = "\t" }

$1 == "note" { notes[++note_count] = $2 }

$1 == "column" {
	columns[++column_count] = $2
	heading[$2] = $3
}

$1 == "missing" && !(($2, $3) in missing) {
	missing[$2, $3] = 1
	reasons[++reason_count] = $2 SUBSEP $3
}

$1 == "suite" {
	if (!($3 in known)) {
		known[$3] = 1
		programs[++program_count] = $3
	}
	if ($2 == "native")
		checksum[$3] = $4
	if ($4 == "unsupported")
		unsupported[$2, $3] = 1
	else if ($4 != checksum[$3])
		wrong[$2, $3] = 1
	else {
		add($2 SUBSEP $3, $5)
		if ($5 >= 0.05)
			add("clock" SUBSEP $2, $6 / $5)
	}
}

$1 == "system" {
	add($2 SUBSEP $3, $4)
	rows[$3] = 1
}

function add(key, value)
{
	values[key, ++count[key]] = value + 0
}

# The median of a key's values, or "" if it has none.
function median(key,    n, i, j, value, sorted)
{
	n = count[key]
	if (n == 0)
		return ""
	for (i = 1; i <= n; i++) {
		value = values[key, i]
		for (j = i - 1; j > 0 && sorted[j] > value; j--)
			sorted[j + 1] = sorted[j]
		sorted[j + 1] = value
	}
	return (sorted[int((n + 1) / 2)] + sorted[int(n / 2) + 1]) / 2
}

function ratio(part, whole)
{
	return part == "" || whole == "" || whole == 0 ? "" : part / whole
}

function show(value, format)
{
	return value == "" ? "n/a" : sprintf(format, value)
}

function seconds(column, program)
{
	if ((column, program) in wrong)
		return "wrong"
	if ((column, program) in unsupported)
		return "no CPU"
	return show(median(column SUBSEP program), "%.3f")
}

# The pairs to compare: every machine with native, then every peer with each of veneer's engines.
function make_pairs(    i, j)
{
	for (i = 2; i <= column_count; i++)
		pair(columns[i], "native")
	for (i = 2; i <= column_count; i++)
		for (j = 2; j <= column_count; j++)
			if (columns[i] ~ /^veneer/ && columns[j] !~ /^veneer/)
				pair(columns[j], columns[i])
}

function pair(part, whole)
{
	pairs++
	part_of[pairs] = part
	whole_of[pairs] = whole
}

function separator(label, n,    i)
{
	printf "|%s", label
	for (i = 0; i < n; i++)
		printf "---:|"
	print ""
}

function program_row(program,    i, r)
{
	printf "| %s |", program
	for (i = 1; i <= column_count; i++)
		printf " %s |", seconds(columns[i], program)
	for (i = 1; i <= pairs; i++) {
		r = ratio(median(part_of[i] SUBSEP program), median(whole_of[i] SUBSEP program))
		printf " %s |", show(r, "%.2f")
	}
	print ""
}

# The geometric means of the programs whose names begin with prefix. A ratio is over the programs
# that both machines ran; where those are not all, the mean says how many.
function mean_row(label, prefix,    i, j, n, all, sum, r)
{
	printf "| **%s** |", label
	for (i = 1; i <= column_count; i++)
		printf " |"
	for (i = 1; i <= pairs; i++) {
		n = all = sum = 0
		for (j = 1; j <= program_count; j++) {
			if (index(programs[j], prefix) != 1)
				continue
			all++
			r = ratio(median(part_of[i] SUBSEP programs[j]), \
				median(whole_of[i] SUBSEP programs[j]))
			if (r != "" && r > 0) {
				n++
				sum += log(r)
			}
		}
		if (n == 0)
			printf " n/a |"
		else
			printf " **%.2f**%s |", exp(sum / n), n < all ? " (" n " of " all ")" : ""
	}
	print ""
}

function suite_table(    i, j)
{
	printf "| seconds |"
	for (i = 1; i <= column_count; i++)
		printf " %s |", heading[columns[i]]
	for (i = 1; i <= pairs; i++)
		printf " %s / %s |", heading[part_of[i]], heading[whole_of[i]]
	print ""
	separator("---|", column_count + pairs)
	for (i = 1; i <= 3; i++) {
		for (j = 1; j <= program_count; j++) {
			if (index(programs[j], group[i]) != 1)
				continue
			program_row(programs[j])
			group_size[i]++
		}
		if (group_size[i])
			mean_row(group_name[i] ", geometric mean", group[i])
	}
	mean_row("all, geometric mean", "")
	print ""
}

function system_row(row, label, format, scale,    i, value)
{
	if (!(row in rows))
		return
	printf "| %s |", label
	for (i = 2; i <= column_count; i++) {
		value = median(columns[i] SUBSEP row)
		printf " %s |", show(value == "" ? "" : value * scale, format)
	}
	for (i = 1; i <= pairs; i++)
		if (whole_of[i] != "native")
			printf " %s |", show(ratio(median(part_of[i] SUBSEP row), \
				median(whole_of[i] SUBSEP row)), "%.2f")
	print ""
}

function system_table(    i, n)
{
	printf "| |"
	n = column_count - 1
	for (i = 2; i <= column_count; i++)
		printf " %s |", heading[columns[i]]
	for (i = 1; i <= pairs; i++)
		if (whole_of[i] != "native") {
			printf " %s / %s |", heading[part_of[i]], heading[whole_of[i]]
			n++
		}
	print ""
	separator("---|", n)
	system_row("start", "process start to the guest kernel's first instruction, ms", \
		"%.1f", 1000)
	system_row("user", "boot: process start to user space, s", "%.2f", 1)
	system_row("off", "boot: whole process, until power-off, s", "%.2f", 1)
	system_row("cpu", "boot: processor time of the whole process, s", "%.2f", 1)
	system_row("memory", "memory beyond guest RAM, MiB", "%.1f", 1 / 1024)
	print ""
}

END {
	group[1] = "int"; group_name[1] = "integer"
	group[2] = "fp"; group_name[2] = "floating point, SIMD"
	group[3] = "os"; group_name[3] = "operating system"

	make_pairs()
	if (program_count)
		suite_table()
	for (row in rows) {
		system_table()
		break
	}

	for (i = 1; i <= note_count; i++)
		print "- " notes[i]
	for (i = 2; i <= column_count; i++)
		if (count["clock" SUBSEP columns[i]])
			printf "- the guest's clock against this machine's, median: %s %.2f\n",
				heading[columns[i]], median("clock" SUBSEP columns[i])
	for (i = 1; i <= reason_count; i++) {
		split(reasons[i], field, SUBSEP)
		print "- n/a: " heading[field[1]] ": " field[2]
	}
}
