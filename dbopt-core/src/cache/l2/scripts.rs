//! What Redis must do in one go. Every script names its keys first; all are in one slot.
//!
//! `epoch` holds `<epoch> <sweep> <floor>`: a random number that changes when entries must not be trusted any more, a count of
//! the pattern invalidations, and the position every fill must have seen (`-` while nobody knows it).
//! `g:<tag>` holds `<generation>[ <position>][ u]`; `u` says that an invalidation came without a position.
//! Positions are fixed-width hexadecimal, so that they compare as text.

use std::sync::LazyLock;

use redis::Script;

const STATE: &str = r"
local function state(key)
  local text = redis.call('GET', key)
  if not text then return nil end
  return string.match(text, '^(%x+) (%d+) (%S+)$')
end
local function micros()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end
-- How many keys this Redis has evicted: of what is not there, it may have known.
local function evicted()
  local info = redis.pcall('INFO', 'stats')
  return type(info) == 'string' and string.match(info, 'evicted_keys:(%d+)') or '0'
end
local function millis()
  return math.floor(micros() / 1000)
end
";

/// The scripts of calls with a small budget, to be sent ahead: one that Redis does not know costs two round trips more.
pub(super) fn ahead(modern: bool) -> redis::Pipeline {
    let mut pipeline = redis::pipe();
    let invalidate = if modern { &INVALIDATE_WHEN_FULL } else { &INVALIDATE };
    for script in [&BEGIN, &STORE, invalidate, &RELEASE, &RENEW] {
        pipeline.load_script(script).ignore();
    }
    pipeline
}

fn script(body: &str) -> Script {
    Script::new(&format!("{STATE}{body}"))
}

/// KEYS epoch server writers; ARGV run id, fresh epoch, how far in the past to date the loss.
/// -> epoch, whether it is new
pub(super) static ATTACH: LazyLock<Script> = LazyLock::new(|| {
    script(
        r"
local epoch = state(KEYS[1])
if epoch and redis.call('GET', KEYS[2]) == ARGV[1] and redis.call('ZSCORE', KEYS[3], '!base') then
  return {epoch, '0'}
end
redis.call('SET', KEYS[2], ARGV[1])
redis.call('SET', KEYS[1], ARGV[2] .. ' 0 -')
redis.call('ZADD', KEYS[3], '+inf', '!base')
redis.call('ZADD', KEYS[3], millis() - tonumber(ARGV[3]) - 1, '!lost')
return {ARGV[2], '1'}",
    )
});

/// KEYS epoch lease generations..; ARGV life a generation needs, life it is given, lease token or '', lease in ms,
/// whether generations are never evicted, then epoch, evictions and position of the caller's proof or ''.
/// -> lost | position, epoch, evictions | begun, epoch, sweep, floor, leader, generations..
pub(super) static BEGIN: LazyLock<Script> = LazyLock::new(|| {
    script(
        r"
local epoch, sweep, floor = state(KEYS[1])
if not epoch then return {'lost'} end
local found, missing = {}, false
for i = 3, #KEYS do
  found[i] = redis.call('GET', KEYS[i])
  missing = missing or not found[i]
end
local fresh = ''
local evicted = (missing or floor == '-') and evicted()
if floor == '-' or missing and (ARGV[5] ~= '1' or evicted ~= '0') then
  if ARGV[6] ~= epoch or ARGV[7] ~= evicted then return {'position', epoch, evicted} end
  fresh = ' ' .. ARGV[8]
  if floor == '-' then
    floor = ARGV[8]
    redis.call('SET', KEYS[1], epoch .. ' ' .. sweep .. ' ' .. floor)
  end
end
local leader = '1'
if ARGV[3] ~= '' and not redis.call('SET', KEYS[2], ARGV[3], 'NX', 'PX', ARGV[4]) then leader = '0' end
local reply = {'begun', epoch, sweep, floor, leader}
local now = string.format('%.0f', micros())
for i = 3, #KEYS do
  if not found[i] then
    found[i] = now .. fresh
    redis.call('SET', KEYS[i], found[i], 'PX', ARGV[2])
  elseif redis.call('PTTL', KEYS[i]) < tonumber(ARGV[1]) then
    redis.call('PEXPIRE', KEYS[i], ARGV[2])
  end
  reply[#reply + 1] = found[i]
end
return reply",
    )
});

/// KEYS epoch value lease generations..; ARGV epoch, sweep, ttl in ms, lease token or '', envelope, generations..
/// -> 1 when it was stored
pub(super) static STORE: LazyLock<Script> = LazyLock::new(|| {
    script(
        r"
local epoch, sweep = state(KEYS[1])
local current = epoch == ARGV[1] and sweep == ARGV[2]
for i = 4, #KEYS do
  local generation = redis.call('GET', KEYS[i])
  current = current and generation and string.match(generation, '^%d+') == ARGV[i + 2]
end
-- The value is the first write: after another one, Redis would take it although its memory is full.
if current then
  local expiry = string.format('%016.0f', millis() + tonumber(ARGV[3]))
  redis.call('SET', KEYS[2], expiry .. ARGV[5], 'PX', ARGV[3])
end
if ARGV[4] ~= '' and redis.call('GET', KEYS[3]) == ARGV[4] then redis.call('DEL', KEYS[3]) end
return current and 1 or 0",
    )
});

const INVALIDATE_BODY: &str = r"
local epoch, sweep, floor = state(KEYS[1])
local alone = ARGV[2] ~= '' and epoch and floor ~= '-' and floor <= ARGV[2]
local now = micros()
local reply = {epoch or '', sweep or '0', ''}
for i = 2, #KEYS do
  local old = redis.call('GET', KEYS[i])
  local generation, position, unknown = now, ARGV[1], ARGV[1] == ''
  local life = tonumber(ARGV[3])
  if old then
    local number, place, mark = string.match(old, '^(%d+) ?(%x*) ?(u?)$')
    generation = math.max(now, (tonumber(number) or 0) + 1)
    if place and place > position then position = place end
    if mark == 'u' then unknown = true end
    if mark == 'u' or not place or place > ARGV[2] then alone = false end
    life = math.max(life, redis.call('PTTL', KEYS[i]))
  elseif ARGV[4] ~= '1' or evicted() ~= '0' then
    alone = false
  end
  local number = string.format('%.0f', generation)
  local text = number
  if position ~= '' then text = text .. ' ' .. position end
  if unknown then text = text .. ' u' end
  redis.call('SET', KEYS[i], text, 'PX', life)
  reply[#reply + 1] = number
end
if ARGV[6] ~= '' then redis.call('PUBLISH', ARGV[5], ARGV[6]) end
reply[3] = alone and '1' or '0'
return reply";

/// KEYS epoch generations..; ARGV position or '', lower or '', least life in ms, whether generations are never evicted,
/// channel, message or ''. -> epoch, sweep, whether alone, generations..
pub(super) static INVALIDATE: LazyLock<Script> = LazyLock::new(|| script(INVALIDATE_BODY));

/// The same for Redis 7 and later, where an invalidation may be let through although memory is full.
pub(super) static INVALIDATE_WHEN_FULL: LazyLock<Script> =
    LazyLock::new(|| Script::new(&format!("#!lua flags=allow-oom\n{STATE}{INVALIDATE_BODY}")));

/// KEYS epoch; ARGV position or ''. Fences every fill under way. -> 1, or 0 when there is no epoch
pub(super) static SWEEP: LazyLock<Script> = LazyLock::new(|| {
    script(
        r"
local epoch, sweep, floor = state(KEYS[1])
if not epoch then return 0 end
if floor ~= '-' and ARGV[1] > floor then floor = ARGV[1] end
redis.call('SET', KEYS[1], string.format('%s %.0f %s', epoch, tonumber(sweep) + 1, floor))
return 1",
    )
});

/// KEYS epoch; ARGV fresh epoch, position or '', channel, message. -> 1
pub(super) static CLEAR: LazyLock<Script> = LazyLock::new(|| {
    script(
        r"
local epoch, sweep, floor = state(KEYS[1])
if not epoch then floor = '-' end
if floor ~= '-' and ARGV[2] > floor then floor = ARGV[2] end
redis.call('SET', KEYS[1], ARGV[1] .. ' 0 ' .. floor)
redis.call('PUBLISH', ARGV[3], ARGV[4])
return 1",
    )
});

/// KEYS lease; ARGV token. -> whether it was ours
pub(super) static RELEASE: LazyLock<Script> = LazyLock::new(|| {
    script("if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0")
});

/// KEYS writers; ARGV member, intended expiry in ms, lease in ms. -> 1 renewed, 0 refused, -1 the set is lost
pub(super) static RENEW: LazyLock<Script> = LazyLock::new(|| {
    script(
        r"
if not redis.call('ZSCORE', KEYS[1], '!base') then return -1 end
local now, expiry = millis(), tonumber(ARGV[2])
-- Late by our clock, or our clock stepped back: either way it would not mean what the writer thinks.
if expiry <= now or expiry > now + 2 * tonumber(ARGV[3]) then return 0 end
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
return 1",
    )
});

/// KEYS epoch writers; ARGV how long silence is remembered in ms, fresh epoch, channel, message. -> how many were forgotten
pub(super) static FORGET: LazyLock<Script> = LazyLock::new(|| {
    script(
        r"
local gone = redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', millis() - tonumber(ARGV[1]))
if gone > 0 then
  redis.call('SET', KEYS[1], ARGV[2] .. ' 0 -')
  redis.call('PUBLISH', ARGV[3], ARGV[4])
end
return gone",
    )
});
