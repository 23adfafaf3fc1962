CREATE TABLE "possible_repair" (
	"event_id" uuid NOT NULL,
	"event_us" bigint NOT NULL,
	"amount_kobo" bigint NOT NULL,
	"file_id" integer NOT NULL,
	"merchant_key" integer NOT NULL,
	"kind_key" integer NOT NULL,
	"context_key" integer NOT NULL,
	CONSTRAINT "possible_repair_pkey" PRIMARY KEY("event_id")
);
--> statement-breakpoint
INSERT INTO "possible_repair"
SELECT * FROM event WHERE event_id IN (SELECT unnest(event_ids) FROM reject WHERE said IS NULL AND NOT is_closed)
 UNION
SELECT *
  FROM event
 WHERE (merchant_key, event_us) IN (SELECT merchant_key, (said->>'event_us')::bigint
                                      FROM reject
                                      JOIN merchant ON merchant_id = said->>'merchant_id'
                                     WHERE said IS NOT NULL AND NOT is_closed);--> statement-breakpoint
DROP FUNCTION "public"."count_open_rejects"();--> statement-breakpoint
DROP VIEW "public"."open_reject";--> statement-breakpoint
DROP INDEX "event_file_id_idx";--> statement-breakpoint
CREATE INDEX "event_file_id_event_us_idx" ON "event" USING brin ("file_id","event_us");--> statement-breakpoint
CREATE VIEW "public"."open_reject" AS (
  WITH named AS (
    SELECT file_id, line, reason, unnest(event_ids) AS event_id FROM reject WHERE said IS NULL AND NOT is_closed
  ), wanted AS (
    SELECT file_id,
           line,
           (SELECT merchant_key FROM merchant WHERE merchant_id = said->>'merchant_id') AS merchant_key,
           (said->>'event_us')::bigint AS event_us,
           (said->>'amount_kobo')::bigint AS amount_kobo,
           (SELECT kind_key FROM kind WHERE product = said->>'product' AND event_type = said->>'event_type') AS kind_key,
           (SELECT context_key
              FROM context
             WHERE status = said->>'status' AND channel = said->>'channel' AND region = said->>'region'
               AND merchant_tier = said->>'merchant_tier') AS context_key
      FROM reject
     WHERE said IS NOT NULL AND NOT is_closed
  ), alike AS (
    SELECT file_id, line, merchant_key, event_us, amount_kobo, kind_key, context_key FROM wanted
     UNION ALL
    SELECT file_id, NULL, merchant_key, event_us, amount_kobo, kind_key, context_key FROM possible_repair WHERE (merchant_key, event_us, amount_kobo, kind_key, context_key) IN (SELECT merchant_key, event_us, amount_kobo, kind_key, context_key FROM wanted)
  ), placed AS (
    SELECT *,
           row_number() OVER (PARTITION BY merchant_key, event_us, amount_kobo, kind_key, context_key ORDER BY line IS NULL, file_id, line) AS nth,
           min(file_id) FILTER (WHERE line IS NOT NULL) OVER same AS first_file,
           max(file_id) FILTER (WHERE line IS NOT NULL) OVER same AS last_file
      FROM alike
    WINDOW same AS (PARTITION BY merchant_key, event_us, amount_kobo, kind_key, context_key)
  ), counted AS (
    SELECT *, count(*) FILTER (WHERE line IS NULL AND (file_id <> first_file OR file_id <> last_file)) OVER same AS repairs
      FROM placed
    WINDOW same AS (PARTITION BY merchant_key, event_us, amount_kobo, kind_key, context_key)
  )
  (SELECT file_id, line, reason FROM reject WHERE said IS NULL AND NOT is_closed
   EXCEPT
   SELECT file_id, line, reason FROM named WHERE event_id IN (SELECT event_id FROM possible_repair))
   UNION ALL
  SELECT file_id, line, 'event_id'
    FROM counted
   WHERE line IS NOT NULL AND nth > repairs);