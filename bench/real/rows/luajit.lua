-- Work for LuaJIT: luajit.lua ROUNDS

local state = 1

-- A number below the given one, the same sequence on every machine.
local function draw(below)
	state = (state * 16807) % 2147483647
	return state % below
end

local function life(size, steps)
	local cells = {}
	for i = 0, size * size - 1 do
		cells[i] = draw(3) == 0 and 1 or 0
	end
	for _ = 1, steps do
		local following = {}
		for y = 0, size - 1 do
			local up, down = (y + size - 1) % size * size, (y + 1) % size * size
			for x = 0, size - 1 do
				local left, right = (x + size - 1) % size, (x + 1) % size
				local n = cells[up + left] + cells[up + x] + cells[up + right]
					+ cells[y * size + left] + cells[y * size + right]
					+ cells[down + left] + cells[down + x] + cells[down + right]
				following[y * size + x] = (n == 3 or n == 2 and cells[y * size + x] == 1) and 1 or 0
			end
		end
		cells = following
	end
	local alive = 0
	for i = 0, size * size - 1 do
		alive = alive + cells[i]
	end
	return alive
end

local function tree(depth)
	if depth == 0 then
		return { value = draw(10) }
	end
	return { left = tree(depth - 1), right = tree(depth - 1), value = draw(10) }
end

local function sum(node)
	return node and node.value + sum(node.left) + sum(node.right) or 0
end

local function words()
	local counts, text = {}, {}
	for i = 1, 3000 do
		text[i] = string.char(97 + draw(6), 97 + draw(6), 97 + draw(6))
	end
	for word in table.concat(text, " "):gmatch("%a+") do
		counts[word] = (counts[word] or 0) + 1
	end
	local names = {}
	for word in pairs(counts) do
		names[#names + 1] = word
	end
	table.sort(names, function(a, b)
		return counts[a] > counts[b] or counts[a] == counts[b] and a < b
	end)
	return names[1] .. counts[names[1]] .. names[2] .. counts[names[2]]
end

for _ = 1, tonumber(arg[1]) do
	print(life(80, 40), sum(tree(13)), words())
end
