create schema raw;
create table raw.cust_info as select * from '../data/landing/cust_info_2026_04_01.csv';
create table raw.loc_a101 as select * from '../data/landing/loc_a101_2026_04_01.csv';
create table raw.prd_info as select * from '../data/landing/prd_info_2026_04.csv';
create table raw.sales_details as select 'SO' || (50000 + i // 3) as sls_ord_num, (select list(right(prd_key, length(prd_key) - 6)) from raw.prd_info)[1 + i % 290] as sls_prd_key, 11000 + i % 5000 as sls_cust_id, case when i % 97 = 0 then 0 else 20130101 + i % 28 end as sls_order_dt, 20130201 + i % 28 as sls_ship_dt, 20130301 + i % 27 as sls_due_dt, case when i % 31 = 0 then null else (i % 40) * 2 end as sls_sales, 1 + i % 2 as sls_quantity, case when i % 53 = 0 then null else i % 40 end as sls_price, date '2026-04-01' as snapshot_date from range(6000) t(i);
