-- PostgreSQL with TimescaleDB 2.11 or later.
-- Generated from archive/tape_archive/tables/schema.py: python -m tape_archive.tables.ddl config/sql

CREATE EXTENSION IF NOT EXISTS timescaledb;

CREATE TABLE IF NOT EXISTS "trades" (
    "timestamp" timestamptz NOT NULL,
    "receipt_timestamp" timestamptz NOT NULL,
    "exchange" text COLLATE "C" NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "side" text COLLATE "C" NOT NULL,
    "amount" double precision NOT NULL,
    "price" double precision NOT NULL,
    "trade_id" bigint NOT NULL,
    "first_id" bigint,
    "last_id" bigint,
    PRIMARY KEY (symbol, timestamp, exchange, trade_id)
);

CREATE TABLE IF NOT EXISTS "candles_1m" (
    "timestamp" timestamptz NOT NULL,
    "receipt_timestamp" timestamptz NOT NULL,
    "exchange" text COLLATE "C" NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "open" double precision NOT NULL,
    "high" double precision NOT NULL,
    "low" double precision NOT NULL,
    "close" double precision NOT NULL,
    "volume" double precision NOT NULL,
    "quote_volume" double precision,
    "trades" bigint,
    "taker_volume" double precision,
    "taker_quote_volume" double precision,
    PRIMARY KEY (symbol, timestamp, exchange)
);

CREATE TABLE IF NOT EXISTS "candles_5m" (
    "timestamp" timestamptz NOT NULL,
    "receipt_timestamp" timestamptz NOT NULL,
    "exchange" text COLLATE "C" NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "open" double precision NOT NULL,
    "high" double precision NOT NULL,
    "low" double precision NOT NULL,
    "close" double precision NOT NULL,
    "volume" double precision NOT NULL,
    "quote_volume" double precision,
    "trades" bigint,
    "taker_volume" double precision,
    "taker_quote_volume" double precision,
    PRIMARY KEY (symbol, timestamp, exchange)
);

CREATE TABLE IF NOT EXISTS "candles_30m" (
    "timestamp" timestamptz NOT NULL,
    "receipt_timestamp" timestamptz NOT NULL,
    "exchange" text COLLATE "C" NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "open" double precision NOT NULL,
    "high" double precision NOT NULL,
    "low" double precision NOT NULL,
    "close" double precision NOT NULL,
    "volume" double precision NOT NULL,
    "quote_volume" double precision,
    "trades" bigint,
    "taker_volume" double precision,
    "taker_quote_volume" double precision,
    PRIMARY KEY (symbol, timestamp, exchange)
);

CREATE TABLE IF NOT EXISTS "candles_4h" (
    "timestamp" timestamptz NOT NULL,
    "receipt_timestamp" timestamptz NOT NULL,
    "exchange" text COLLATE "C" NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "open" double precision NOT NULL,
    "high" double precision NOT NULL,
    "low" double precision NOT NULL,
    "close" double precision NOT NULL,
    "volume" double precision NOT NULL,
    "quote_volume" double precision,
    "trades" bigint,
    "taker_volume" double precision,
    "taker_quote_volume" double precision,
    PRIMARY KEY (symbol, timestamp, exchange)
);

CREATE TABLE IF NOT EXISTS "candles_1d" (
    "timestamp" timestamptz NOT NULL,
    "receipt_timestamp" timestamptz NOT NULL,
    "exchange" text COLLATE "C" NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "open" double precision NOT NULL,
    "high" double precision NOT NULL,
    "low" double precision NOT NULL,
    "close" double precision NOT NULL,
    "volume" double precision NOT NULL,
    "quote_volume" double precision,
    "trades" bigint,
    "taker_volume" double precision,
    "taker_quote_volume" double precision,
    PRIMARY KEY (symbol, timestamp, exchange)
);

CREATE TABLE IF NOT EXISTS "ticker" (
    "timestamp" timestamptz NOT NULL,
    "receipt_timestamp" timestamptz NOT NULL,
    "exchange" text COLLATE "C" NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "last" double precision NOT NULL,
    "open" double precision NOT NULL,
    "high" double precision NOT NULL,
    "low" double precision NOT NULL,
    "volume" double precision NOT NULL,
    "quote_volume" double precision,
    "trades" bigint,
    "last_id" bigint,
    PRIMARY KEY (symbol, timestamp, exchange)
);

CREATE TABLE IF NOT EXISTS "funding" (
    "timestamp" timestamptz NOT NULL,
    "receipt_timestamp" timestamptz NOT NULL,
    "exchange" text COLLATE "C" NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "rate" double precision NOT NULL,
    "mark_price" double precision,
    "next_funding_time" timestamptz,
    "predicted_rate" double precision,
    PRIMARY KEY (symbol, timestamp, exchange)
);

CREATE TABLE IF NOT EXISTS "l2_book" (
    "timestamp" timestamptz NOT NULL,
    "receipt_timestamp" timestamptz NOT NULL,
    "exchange" text COLLATE "C" NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "first_update_id" bigint NOT NULL,
    "last_update_id" bigint NOT NULL,
    "previous_update_id" bigint,
    "snapshot" boolean NOT NULL,
    "bid_prices" double precision[] NOT NULL,
    "bid_amounts" double precision[] NOT NULL,
    "ask_prices" double precision[] NOT NULL,
    "ask_amounts" double precision[] NOT NULL,
    PRIMARY KEY (symbol, timestamp, exchange, last_update_id)
);

CREATE TABLE IF NOT EXISTS "liquidations" (
    "timestamp" timestamptz NOT NULL,
    "receipt_timestamp" timestamptz NOT NULL,
    "exchange" text COLLATE "C" NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "side" text COLLATE "C" NOT NULL,
    "quantity" double precision NOT NULL,
    "price" double precision NOT NULL,
    "average_price" double precision,
    "filled" double precision,
    "status" text COLLATE "C",
    "liquidation_id" text COLLATE "C" NOT NULL,
    PRIMARY KEY (symbol, timestamp, exchange, liquidation_id)
);

CREATE TABLE IF NOT EXISTS "open_interest" (
    "timestamp" timestamptz NOT NULL,
    "receipt_timestamp" timestamptz NOT NULL,
    "exchange" text COLLATE "C" NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "open_interest" double precision NOT NULL,
    "value" double precision,
    PRIMARY KEY (symbol, timestamp, exchange)
);

CREATE TABLE IF NOT EXISTS "index" (
    "timestamp" timestamptz NOT NULL,
    "receipt_timestamp" timestamptz NOT NULL,
    "exchange" text COLLATE "C" NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "index_price" double precision NOT NULL,
    "mark_price" double precision,
    "settle_price" double precision,
    "funding_rate" double precision,
    "next_funding_time" timestamptz,
    PRIMARY KEY (symbol, timestamp, exchange)
);

CREATE TABLE IF NOT EXISTS "custom_candles" (
    "timestamp" timestamptz NOT NULL,
    "receipt_timestamp" timestamptz NOT NULL,
    "exchange" text COLLATE "C" NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "interval" text COLLATE "C" NOT NULL,
    "open" double precision NOT NULL,
    "high" double precision NOT NULL,
    "low" double precision NOT NULL,
    "close" double precision NOT NULL,
    "volume" double precision NOT NULL,
    "quote_volume" double precision,
    "trades" bigint,
    "taker_volume" double precision,
    "taker_quote_volume" double precision,
    PRIMARY KEY (symbol, timestamp, exchange, interval)
);

CREATE TABLE IF NOT EXISTS "book_ticker" (
    "timestamp" timestamptz NOT NULL,
    "receipt_timestamp" timestamptz NOT NULL,
    "exchange" text COLLATE "C" NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "update_id" bigint NOT NULL,
    "bid" double precision NOT NULL,
    "bid_amount" double precision NOT NULL,
    "ask" double precision NOT NULL,
    "ask_amount" double precision NOT NULL,
    PRIMARY KEY (symbol, timestamp, exchange, update_id)
);

CREATE TABLE IF NOT EXISTS "instruments" (
    "timestamp" timestamptz NOT NULL,
    "receipt_timestamp" timestamptz NOT NULL,
    "exchange" text COLLATE "C" NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "native" text COLLATE "C" NOT NULL,
    "status" text COLLATE "C" NOT NULL,
    "base" text COLLATE "C" NOT NULL,
    "quote" text COLLATE "C" NOT NULL,
    "multiplier" double precision NOT NULL,
    "tick_size" double precision,
    "lot_size" double precision,
    "first_seen" timestamptz NOT NULL,
    "last_seen" timestamptz NOT NULL,
    "listed" timestamptz,
    "delisted" timestamptz,
    "previous" text COLLATE "C",
    PRIMARY KEY (symbol, timestamp, exchange)
);

CREATE TABLE IF NOT EXISTS "gap_detection_log" (
    "detection_time" timestamptz NOT NULL,
    "receipt_timestamp" timestamptz NOT NULL,
    "exchange" text COLLATE "C" NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "log_id" bigint NOT NULL,
    "data_type" text COLLATE "C" NOT NULL,
    "interval" text COLLATE "C" NOT NULL,
    "gap_start" timestamptz NOT NULL,
    "gap_end" timestamptz NOT NULL,
    "gap_type" text COLLATE "C" NOT NULL,
    "priority" bigint NOT NULL,
    "status" text COLLATE "C" NOT NULL,
    "records_expected" bigint NOT NULL,
    "records_filled" bigint NOT NULL,
    "fill_start_time" timestamptz,
    "fill_complete_time" timestamptz,
    "error_message" text COLLATE "C",
    "retry_count" bigint NOT NULL,
    PRIMARY KEY (symbol, detection_time, exchange, log_id)
);

CREATE TABLE IF NOT EXISTS tape_cursors (
    writer text COLLATE "C" NOT NULL,
    table_name text COLLATE "C" NOT NULL,
    batch bigint NOT NULL,
    position text NOT NULL,
    updated timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (writer, table_name)
);

CREATE OR REPLACE VIEW candles AS
SELECT symbol, '1m' AS interval, timestamp, receipt_timestamp, exchange, open, high, low, close, volume, quote_volume, trades, taker_volume, taker_quote_volume FROM candles_1m
UNION ALL
SELECT symbol, '5m' AS interval, timestamp, receipt_timestamp, exchange, open, high, low, close, volume, quote_volume, trades, taker_volume, taker_quote_volume FROM candles_5m
UNION ALL
SELECT symbol, '30m' AS interval, timestamp, receipt_timestamp, exchange, open, high, low, close, volume, quote_volume, trades, taker_volume, taker_quote_volume FROM candles_30m
UNION ALL
SELECT symbol, '4h' AS interval, timestamp, receipt_timestamp, exchange, open, high, low, close, volume, quote_volume, trades, taker_volume, taker_quote_volume FROM candles_4h
UNION ALL
SELECT symbol, '1d' AS interval, timestamp, receipt_timestamp, exchange, open, high, low, close, volume, quote_volume, trades, taker_volume, taker_quote_volume FROM candles_1d
UNION ALL
SELECT symbol, interval, timestamp, receipt_timestamp, exchange, open, high, low, close, volume, quote_volume, trades, taker_volume, taker_quote_volume FROM custom_candles;

SELECT create_hypertable('trades', 'timestamp', chunk_time_interval => INTERVAL '1 day', if_not_exists => TRUE);

ALTER TABLE "trades" SET (timescaledb.compress, timescaledb.compress_segmentby = 'symbol, exchange', timescaledb.compress_orderby = 'timestamp, trade_id');

SELECT add_compression_policy('trades', INTERVAL '1 day', if_not_exists => TRUE);

SELECT add_retention_policy('trades', INTERVAL '7 days', if_not_exists => TRUE);

SELECT create_hypertable('candles_1m', 'timestamp', chunk_time_interval => INTERVAL '1 day', if_not_exists => TRUE);

ALTER TABLE "candles_1m" SET (timescaledb.compress, timescaledb.compress_segmentby = 'symbol, exchange', timescaledb.compress_orderby = 'timestamp');

SELECT add_compression_policy('candles_1m', INTERVAL '1 day', if_not_exists => TRUE);

SELECT add_retention_policy('candles_1m', INTERVAL '30 days', if_not_exists => TRUE);

SELECT create_hypertable('candles_5m', 'timestamp', chunk_time_interval => INTERVAL '1 day', if_not_exists => TRUE);

ALTER TABLE "candles_5m" SET (timescaledb.compress, timescaledb.compress_segmentby = 'symbol, exchange', timescaledb.compress_orderby = 'timestamp');

SELECT add_compression_policy('candles_5m', INTERVAL '1 day', if_not_exists => TRUE);

SELECT add_retention_policy('candles_5m', INTERVAL '90 days', if_not_exists => TRUE);

SELECT create_hypertable('candles_30m', 'timestamp', chunk_time_interval => INTERVAL '30 days', if_not_exists => TRUE);

ALTER TABLE "candles_30m" SET (timescaledb.compress, timescaledb.compress_segmentby = 'symbol, exchange', timescaledb.compress_orderby = 'timestamp');

SELECT add_compression_policy('candles_30m', INTERVAL '30 days', if_not_exists => TRUE);

SELECT add_retention_policy('candles_30m', INTERVAL '180 days', if_not_exists => TRUE);

SELECT create_hypertable('candles_4h', 'timestamp', chunk_time_interval => INTERVAL '365 days', if_not_exists => TRUE);

ALTER TABLE "candles_4h" SET (timescaledb.compress, timescaledb.compress_segmentby = 'symbol, exchange', timescaledb.compress_orderby = 'timestamp');

SELECT add_compression_policy('candles_4h', INTERVAL '365 days', if_not_exists => TRUE);

SELECT add_retention_policy('candles_4h', INTERVAL '365 days', if_not_exists => TRUE);

SELECT create_hypertable('candles_1d', 'timestamp', chunk_time_interval => INTERVAL '365 days', if_not_exists => TRUE);

ALTER TABLE "candles_1d" SET (timescaledb.compress, timescaledb.compress_segmentby = 'symbol, exchange', timescaledb.compress_orderby = 'timestamp');

SELECT add_compression_policy('candles_1d', INTERVAL '365 days', if_not_exists => TRUE);

SELECT create_hypertable('ticker', 'timestamp', chunk_time_interval => INTERVAL '1 day', if_not_exists => TRUE);

ALTER TABLE "ticker" SET (timescaledb.compress, timescaledb.compress_segmentby = 'symbol, exchange', timescaledb.compress_orderby = 'timestamp');

SELECT add_compression_policy('ticker', INTERVAL '1 day', if_not_exists => TRUE);

SELECT add_retention_policy('ticker', INTERVAL '1 days', if_not_exists => TRUE);

SELECT create_hypertable('funding', 'timestamp', chunk_time_interval => INTERVAL '30 days', if_not_exists => TRUE);

ALTER TABLE "funding" SET (timescaledb.compress, timescaledb.compress_segmentby = 'symbol, exchange', timescaledb.compress_orderby = 'timestamp');

SELECT add_compression_policy('funding', INTERVAL '30 days', if_not_exists => TRUE);

SELECT add_retention_policy('funding', INTERVAL '90 days', if_not_exists => TRUE);

SELECT create_hypertable('l2_book', 'timestamp', chunk_time_interval => INTERVAL '1 day', if_not_exists => TRUE);

ALTER TABLE "l2_book" SET (timescaledb.compress, timescaledb.compress_segmentby = 'symbol, exchange', timescaledb.compress_orderby = 'timestamp, last_update_id');

SELECT add_compression_policy('l2_book', INTERVAL '1 day', if_not_exists => TRUE);

SELECT add_retention_policy('l2_book', INTERVAL '3 days', if_not_exists => TRUE);

SELECT create_hypertable('liquidations', 'timestamp', chunk_time_interval => INTERVAL '30 days', if_not_exists => TRUE);

ALTER TABLE "liquidations" SET (timescaledb.compress, timescaledb.compress_segmentby = 'symbol, exchange', timescaledb.compress_orderby = 'timestamp, liquidation_id');

SELECT add_compression_policy('liquidations', INTERVAL '30 days', if_not_exists => TRUE);

SELECT add_retention_policy('liquidations', INTERVAL '30 days', if_not_exists => TRUE);

SELECT create_hypertable('open_interest', 'timestamp', chunk_time_interval => INTERVAL '1 day', if_not_exists => TRUE);

ALTER TABLE "open_interest" SET (timescaledb.compress, timescaledb.compress_segmentby = 'symbol, exchange', timescaledb.compress_orderby = 'timestamp');

SELECT add_compression_policy('open_interest', INTERVAL '1 day', if_not_exists => TRUE);

SELECT add_retention_policy('open_interest', INTERVAL '90 days', if_not_exists => TRUE);

SELECT create_hypertable('index', 'timestamp', chunk_time_interval => INTERVAL '1 day', if_not_exists => TRUE);

ALTER TABLE "index" SET (timescaledb.compress, timescaledb.compress_segmentby = 'symbol, exchange', timescaledb.compress_orderby = 'timestamp');

SELECT add_compression_policy('index', INTERVAL '1 day', if_not_exists => TRUE);

SELECT add_retention_policy('index', INTERVAL '90 days', if_not_exists => TRUE);

SELECT create_hypertable('custom_candles', 'timestamp', chunk_time_interval => INTERVAL '30 days', if_not_exists => TRUE);

ALTER TABLE "custom_candles" SET (timescaledb.compress, timescaledb.compress_segmentby = 'symbol, exchange', timescaledb.compress_orderby = 'timestamp, interval');

SELECT add_compression_policy('custom_candles', INTERVAL '30 days', if_not_exists => TRUE);

SELECT add_retention_policy('custom_candles', INTERVAL '365 days', if_not_exists => TRUE);

SELECT create_hypertable('book_ticker', 'timestamp', chunk_time_interval => INTERVAL '1 day', if_not_exists => TRUE);

ALTER TABLE "book_ticker" SET (timescaledb.compress, timescaledb.compress_segmentby = 'symbol, exchange', timescaledb.compress_orderby = 'timestamp, update_id');

SELECT add_compression_policy('book_ticker', INTERVAL '1 day', if_not_exists => TRUE);

SELECT add_retention_policy('book_ticker', INTERVAL '1 days', if_not_exists => TRUE);

SELECT create_hypertable('gap_detection_log', 'detection_time', chunk_time_interval => INTERVAL '30 days', if_not_exists => TRUE);

ALTER TABLE "gap_detection_log" SET (timescaledb.compress, timescaledb.compress_segmentby = 'symbol, exchange', timescaledb.compress_orderby = 'detection_time, log_id');

SELECT add_compression_policy('gap_detection_log', INTERVAL '30 days', if_not_exists => TRUE);

SELECT add_retention_policy('gap_detection_log', INTERVAL '30 days', if_not_exists => TRUE);
