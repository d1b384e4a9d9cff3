DROP TABLE flights;
DROP TABLE weather;
DROP TABLE planes;
DROP TABLE airports;
DROP TABLE airlines;
