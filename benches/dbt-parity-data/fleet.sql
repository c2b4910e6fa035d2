create schema raw;
create table raw.raw_vehicles as select * from 'seeds/raw_vehicles.csv';
create table raw.raw_maintenance_costs as select * from 'seeds/raw_maintenance_costs.csv';
create table raw.raw_telemetry as select * from 'seeds/raw_telemetry.csv';
