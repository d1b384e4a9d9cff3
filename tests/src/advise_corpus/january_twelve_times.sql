-- What is copied refers to what is there: no need to look for each row.
SET session_replication_role = replica;
INSERT INTO flights (carrier, number, origin, dest, tailnum, sched_dep, sched_arr, dep, arr, dep_delay, arr_delay, distance, status, seats_total)
SELECT carrier, number, origin, dest, tailnum, sched_dep + gap, sched_arr + gap, dep + gap, arr + gap, dep_delay, arr_delay, distance, status, seats_total
FROM flights, LATERAL (SELECT n * interval '31 days' AS gap FROM generate_series(-11, -1) AS n) AS months;
INSERT INTO weather (origin, hour, temp, dewp, humid, wind_dir, wind_speed, wind_gust, precip, pressure, visib)
SELECT origin, hour + gap, temp, dewp, humid, wind_dir, wind_speed, wind_gust, precip, pressure, visib
FROM weather, LATERAL (SELECT n * interval '31 days' AS gap FROM generate_series(-11, -1) AS n) AS months;
-- Half of the last month is still to come.
UPDATE flights SET status = 'scheduled', dep = NULL, arr = NULL, dep_delay = NULL, arr_delay = NULL WHERE sched_dep > '2013-01-15 17:00Z';
