"""Work for Python: python.py ROUNDS"""

import collections
import hashlib
import heapq
import json
import random
import re
import sys


class Account:
    def __init__(self, name, balance):
        self.name = name
        self.balance = balance
        self.history = []

    def move(self, other, amount):
        if amount > self.balance:
            raise ValueError(f"{self.name} has only {self.balance}")
        self.balance -= amount
        other.balance += amount
        self.history.append((other.name, amount))


def bank(rng):
    accounts = [Account(f"account-{i}", rng.randrange(1000)) for i in range(100)]
    refused = 0
    for _ in range(12000):
        try:
            rng.choice(accounts).move(rng.choice(accounts), rng.randrange(300))
        except ValueError:
            refused += 1
    return [refused] + [a.balance for a in accounts]


def words(rng):
    syllables = ["ka", "to", "mi", "ra", "ne", "so", "lu"]
    text = " ".join(
        "".join(rng.choices(syllables, k=rng.randrange(1, 4))) for _ in range(8000)
    )
    counts = collections.Counter(re.findall(r"\b(?:ka|mi)\w+", text))
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:20]


def shortest_paths(rng):
    graph = collections.defaultdict(list)
    for _ in range(6000):
        graph[rng.randrange(1000)].append((rng.randrange(1000), rng.randrange(1, 50)))
    distance = {0: 0}
    queue = [(0, 0)]
    while queue:
        so_far, node = heapq.heappop(queue)
        if so_far > distance[node]:
            continue
        for following, length in graph[node]:
            if so_far + length < distance.get(following, 1 << 30):
                distance[following] = so_far + length
                heapq.heappush(queue, (so_far + length, following))
    return sum(distance.values())


def documents(rng):
    records = [
        {"id": i, "name": f"record {i}", "tags": ["a", "b"], "x": rng.random()} for i in range(1500)
    ]
    again = json.loads(json.dumps(records, indent=1))
    return hashlib.sha256(json.dumps(again, sort_keys=True).encode()).hexdigest()


def main():
    rng = random.Random(1)
    for _ in range(int(sys.argv[1])):
        print(bank(rng), words(rng), shortest_paths(rng), documents(rng))


main()
