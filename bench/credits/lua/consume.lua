-- One consume a request, each with a key of its own. The API key is in BENCH_API_KEY. Arguments: how many tenants, a seed.
local threads = 0
function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

local hex = {}
for i = 0, 65535 do hex[i] = string.format("%04x", i) end
local variant = { "8", "9", "a", "b" }

function init(args)
  tenants = tonumber(args[1])
  math.randomseed(tonumber(args[2]) * 1000 + number)
  headers = { ["Authorization"] = "Bearer " .. os.getenv("BENCH_API_KEY"), ["Content-Type"] = "application/json" }
end

function request()
  local random = math.random
  local key = hex[random(0, 65535)] .. hex[random(0, 65535)] .. "-" .. hex[random(0, 65535)] .. "-4"
    .. hex[random(0, 65535)]:sub(2) .. "-" .. variant[random(1, 4)] .. hex[random(0, 65535)]:sub(2) .. "-"
    .. hex[random(0, 65535)] .. hex[random(0, 65535)] .. hex[random(0, 65535)]
  local tenant = string.format("org-%05d", random(0, tenants - 1))
  return wrk.format("POST", "/credits/consume", headers, '{"tenant_id":"' .. tenant
    .. '","amount":1,"description":"API call charge","reference":"req-abc123","idempotency_key":"' .. key .. '"}')
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format("RESULT %d %d %d %f %f\n", summary.requests, summary.duration,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(95) / 1000, latency:percentile(99) / 1000))
end
