// Work for Node: node.js ROUNDS
'use strict';

const crypto = require('crypto');

let state = 1;

// A number below the given one, the same sequence on every machine.
function draw(below) {
	state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
	return (state >>> 12) % below;
}

class Shape {
	constructor(x, y) {
		this.x = x;
		this.y = y;
	}
}

class Circle extends Shape {
	area() {
		return Math.round(3.14159 * this.x * this.x);
	}
}

class Box extends Shape {
	area() {
		return this.x * this.y;
	}
}

function shapes() {
	const all = [];
	for (let i = 0; i < 20000; i++)
		all.push(draw(2) ? new Circle(draw(100), 0) : new Box(draw(100), draw(100)));
	return all.filter((s) => s.area() > 50).reduce((sum, s) => sum + s.area(), 0);
}

function words() {
	const syllables = ['ka', 'to', 'mi', 'ra', 'ne', 'so', 'lu'];
	const counts = new Map();
	let text = '';
	for (let i = 0; i < 10000; i++) {
		for (let j = draw(3); j >= 0; j--)
			text += syllables[draw(7)];
		text += ' ';
	}
	for (const [word] of text.matchAll(/\b(?:ka|mi)\w+/g))
		counts.set(word, (counts.get(word) || 0) + 1);
	return [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, 5);
}

function documents() {
	const records = [];
	for (let i = 0; i < 3000; i++)
		records.push({ id: i, name: `record ${i}`, tags: ['a', 'b'], x: draw(1000) / 7 });
	const text = JSON.stringify(JSON.parse(JSON.stringify(records)));
	return crypto.createHash('sha256').update(text).digest('hex');
}

function matrix() {
	const n = 80;
	const a = new Float64Array(n * n).map((_, i) => i % 7);
	const b = new Float64Array(n * n).map((_, i) => i % 5);
	let trace = 0;
	for (let i = 0; i < n; i++)
		for (let j = 0; j < n; j++) {
			let sum = 0;
			for (let k = 0; k < n; k++)
				sum += a[i * n + k] * b[k * n + j];
			if (i === j)
				trace += sum;
		}
	return trace;
}

for (let round = 0; round < Number(process.argv[2]); round++)
	console.log(shapes(), words(), documents(), matrix());
