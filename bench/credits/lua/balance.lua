-- One balance a request. The API key is in BENCH_API_KEY. Arguments: how many tenants, a seed, "front" or "route", "even" or "zipf".
local threads = 0
function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

function init(args)
  tenants = tonumber(args[1])
  math.randomseed(tonumber(args[2]) * 1000 + number)
  headers = { ["Authorization"] = "Bearer " .. os.getenv("BENCH_API_KEY") }
  -- a conditional request goes to FastAPI
  if args[3] == "route" then headers["If-None-Match"] = '"none"' end
  zipf = args[4] == "zipf"
  if zipf then
    sums = {}
    local sum = 0
    for i = 1, tenants do
      sum = sum + 1 / i
      sums[i] = sum
    end
  end
end

local function pick()
  if not zipf then return math.random(0, tenants - 1) end
  local x, low, high = math.random() * sums[tenants], 1, tenants
  while low < high do
    local middle = math.floor((low + high) / 2)
    if sums[middle] < x then low = middle + 1 else high = middle end
  end
  return low - 1
end

function request()
  return wrk.format("GET", string.format("/credits/balance/org-%05d", pick()), headers)
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format("RESULT %d %d %d %f %f\n", summary.requests, summary.duration,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(95) / 1000, latency:percentile(99) / 1000))
end
