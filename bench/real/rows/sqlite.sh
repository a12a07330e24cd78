# shellcheck shell=bash
# A database in one file: inserts, an index, joins, updates.

work()
{
	sqlite3 shop.db <<-END
		PRAGMA journal_mode = WAL;
		CREATE TABLE customer(id INTEGER PRIMARY KEY, name TEXT, city TEXT);
		CREATE TABLE sale(id INTEGER PRIMARY KEY, customer INTEGER, amount INTEGER, note TEXT);

		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
		INSERT INTO customer SELECT i, printf('customer %d', i * 7919 % 2003), 'city ' || i % 50 FROM n;
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $(part 150000))
		INSERT INTO sale SELECT i, 1 + i * 7919 % 2000, i * 104729 % 1000, hex(i * 31) FROM n;

		CREATE INDEX by_customer ON sale(customer, amount);
		SELECT city, count(*), sum(amount) AS total
			FROM sale JOIN customer ON sale.customer = customer.id
			GROUP BY city ORDER BY total DESC LIMIT 10;
		SELECT count(*), min(note) FROM sale WHERE note LIKE '%7F%';
		UPDATE sale SET amount = amount + 1 WHERE customer % 3 = 0;
		DELETE FROM sale WHERE amount < 100;
		SELECT name, (SELECT max(amount) FROM sale WHERE customer = c.id) AS most
			FROM customer AS c ORDER BY most DESC, name LIMIT 10;
		PRAGMA integrity_check;
	END
}
