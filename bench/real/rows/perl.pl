# Work for Perl: perl.pl ROUNDS
use strict;
use warnings;

my $state = 1;

# A number below the given one, the same sequence on every machine.
sub draw {
	$state = ($state * 1103515245 + 12345) % 2147483648;
	return int($state / 65536) % $_[0];
}

my @syllables = qw(ka to mi ra ne so lu);

for my $round (1 .. shift) {
	my @lines = map {
		my $words = join ' ', map { join '', map { $syllables[draw(7)] } 0 .. draw(3) } 1 .. 10;
		sprintf "%04d-%02d-%02d %s=%d", 1990 + draw(40), 1 + draw(12), 1 + draw(28), $words, draw(1000);
	} 1 .. 500;

	my (%words, %years);
	for my $line (@lines) {
		next unless $line =~ /^(\d{4})-\d\d-(\d\d) (.*)=(\d+)$/;
		$years{$1} += $4;
		$words{lc $_}++ for split / /, $3;
	}
	my @often = sort { $words{$b} <=> $words{$a} || $a cmp $b } keys %words;
	(my $shouted = join "\n", @lines) =~ s/\b(ka|mi)(\w*)/\U$1\E$2/g;
	print "$round @often[0 .. 9] ", $shouted =~ tr/A-Z//, "\n";
	print join(',', map { "$_:$years{$_}" } sort keys %years), "\n";

	my @sieve = (1) x 10000;
	for my $i (2 .. 100) {
		next unless $sieve[$i];
		for (my $j = $i * $i; $j < @sieve; $j += $i) { $sieve[$j] = 0 }
	}
	print scalar(grep { $_ } @sieve), "\n";
}
