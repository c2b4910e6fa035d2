copy (select * from read_csv('../data/sales.csv', all_varchar = true)) to 'data/sales.csv' (format csv, header true);
copy (select * from read_csv('../data/returns.csv', all_varchar = true)) to 'data/returns.csv' (format csv, header true);
copy (select * from read_json('../data/products/products_1.json')) to 'data/products/products_1.json' (format json);
copy (select * from read_json('../data/products/products_2.json')) to 'data/products/products_2.json' (format json);
