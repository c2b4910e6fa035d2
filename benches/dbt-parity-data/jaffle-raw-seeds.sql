create table raw_orders as select 'o' || i as id, (select list(id) from read_csv('seeds/raw_customers.csv'))[1 + i % 900] as customer, strftime(timestamp '2024-09-01 07:00:00' + interval (i * 13) minute, '%Y-%m-%dT%H:%M:%S') as ordered_at, (select list(id) from read_csv('seeds/raw_stores.csv'))[1 + i % 6] as store_id, 500 + i % 900 as subtotal, 30 + i % 50 as tax_paid, 530 + i % 900 + i % 50 as order_total from range(3000) t(i);
create table raw_items as select 'i' || i as id, 'o' || (i // 2) as order_id, (select list(sku) from read_csv('seeds/raw_products.csv'))[1 + i % 10] as sku from range(6000) t(i);
copy raw_orders to 'seeds/raw_orders.csv' (format csv, header true);
copy raw_items to 'seeds/raw_items.csv' (format csv, header true);
drop table raw_orders; drop table raw_items;
