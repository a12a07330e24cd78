# The benchmarks' table in Markdown, from what run.sh measured. Its input has lines of fields
# separated by tabs:
#
#   note    TEXT
#   column  COLUMN  HEADING                               in the table's order
#   pair    COLUMN  COLUMN                                ratios to show: the first to the second
#   group   PREFIX  NAME                                  programs to show together, with a mean
#   missing COLUMN  REASON
#   suite   COLUMN  PROGRAM CHECKSUM SECONDS GUEST CPU    GUEST: SECONDS by the guest's own clock
#   show    cpu                                           CPU rather than SECONDS
#   system  COLUMN  ROW     VALUE                         ROW: user, off, cpu, start or memory
#   counters NAME[,NAME]                                  counts to show
#   count   COLUMN  PROGRAM NAME    VALUE                 PROGRAM: "idle" for a guest without any
#
# Several lines for the same thing are several runs, of which the median counts.

BEGIN { FS = "\t" }

$1 == "note" { notes[++note_count] = $2 }

$1 == "column" {
	columns[++column_count] = $2
	heading[$2] = $3
}

$1 == "pair" {
	part_of[++pairs] = $2
	whole_of[pairs] = $3
}

$1 == "group" {
	group[++groups] = $2
	group_name[groups] = $3
}

$1 == "show" { show_cpu = $2 == "cpu" }

$1 == "counters" { counters = split($2, counter, ",") }

$1 == "count" { add("count" SUBSEP $2 SUBSEP $3 SUBSEP $4, $5) }

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
	else if ($4 == "failed")
		failed[$2, $3] = 1
	else if ($4 != checksum[$3])
		wrong[$2, $3] = 1
	else {
		add($2 SUBSEP $3, show_cpu ? $7 : $5)
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
	if ((column, program) in failed)
		return "failed"
	if ((column, program) in unsupported)
		return "no CPU"
	return show(median(column SUBSEP program), "%.3f")
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
	printf "| %s |", show_cpu ? "processor seconds" : "seconds"
	for (i = 1; i <= column_count; i++)
		printf " %s |", heading[columns[i]]
	for (i = 1; i <= pairs; i++)
		printf " %s / %s |", heading[part_of[i]], heading[whole_of[i]]
	print ""
	separator("---|", column_count + pairs)
	for (i = 1; i <= groups; i++) {
		for (j = 1; j <= program_count; j++) {
			if (index(programs[j], group[i]) != 1)
				continue
			program_row(programs[j])
			group_size[i]++
		}
		if (group_size[i])
			mean_row(group_name[i] ", geometric mean", group[i])
	}
	if (groups > 1)
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

# What each program did in a guest of its own, without what the guest does by itself.
function count_table(column,    i, j, processes)
{
	printf "| %s | processes |", heading[column]
	for (j = 1; j <= counters; j++)
		printf " %s |", counter[j]
	print " " counter[1] " a process |"
	separator("---|", counters + 2)
	for (i = 1; i <= program_count; i++) {
		processes = counted(column, programs[i], "processes")
		printf "| %s | %s |", programs[i], show(processes, "%d")
		for (j = 1; j <= counters; j++)
			printf " %s |", show(counted(column, programs[i], counter[j]), "%d")
		printf " %s |\n", show(ratio(counted(column, programs[i], counter[1]), processes), \
			"%.1f")
	}
	print ""
}

function counted(column, program, name,    value)
{
	value = median("count" SUBSEP column SUBSEP program SUBSEP name)
	return value == "" ? "" : value - median("count" SUBSEP column SUBSEP "idle" SUBSEP name)
}

END {
	if (program_count)
		suite_table()
	for (i = 2; i <= column_count; i++)
		if (counters && columns[i] ~ /^veneer/)
			count_table(columns[i])
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
