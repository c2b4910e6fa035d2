-- The samples in the repository, as its loader makes tables of them.
create schema raw;
create table raw.orders as select * from read_csv_auto('data_sample/olist_orders_dataset.csv');
create table raw.order_items as select * from read_csv_auto('data_sample/olist_order_items_dataset.csv');
create table raw.order_payments as select * from read_csv_auto('data_sample/olist_order_payments_dataset.csv');
create table raw.customers as select * from read_csv_auto('data_sample/olist_customers_dataset.csv');
create table raw.sellers as select * from read_csv_auto('data_sample/olist_sellers_dataset.csv');
create table raw.products as select * from read_csv_auto('data_sample/olist_products_dataset.csv');
create table raw.reviews as select * from read_csv_auto('data_sample/olist_order_reviews_dataset.csv');
create table raw.geolocation as select * from read_csv_auto('data_sample/olist_geolocation_dataset.csv');
