DROP FUNCTION "public"."count_open_rejects"();--> statement-breakpoint
CREATE TABLE "possible_repair" (
	"event_id" uuid NOT NULL,
	"file_id" integer NOT NULL,
	"said" jsonb NOT NULL,
	CONSTRAINT "possible_repair_pkey" PRIMARY KEY("event_id")
);
--> statement-breakpoint
WITH named AS MATERIALIZED (
  SELECT * FROM event WHERE event_id IN (SELECT unnest(event_ids) FROM reject WHERE said IS NULL AND NOT is_closed)
), alike AS MATERIALIZED (
  SELECT *
    FROM event
   WHERE (merchant_key, event_us) IN (SELECT merchant_key, (said->>'event_us')::bigint
                                        FROM reject
                                        JOIN merchant ON merchant_id = said->>'merchant_id'
                                       WHERE said IS NOT NULL AND NOT is_closed)
)
INSERT INTO "possible_repair"
SELECT event_id,
       file_id,
       jsonb_build_object('merchant_id', merchant_id, 'event_us', event_us::text, 'amount_kobo', amount_kobo::text, 'product', product,
                          'event_type', event_type, 'status', status, 'channel', channel, 'region', region,
                          'merchant_tier', merchant_tier)
  FROM (SELECT * FROM named UNION SELECT * FROM alike) AS found
  JOIN merchant USING (merchant_key)
  JOIN kind USING (kind_key)
  JOIN context USING (context_key);--> statement-breakpoint
DROP VIEW "public"."open_reject";--> statement-breakpoint
DROP INDEX "event_file_id_idx";--> statement-breakpoint
CREATE INDEX "event_file_id_event_us_idx" ON "event" USING brin ("file_id","event_us");--> statement-breakpoint
CREATE VIEW "public"."open_reject" AS (
  WITH named AS (
    SELECT file_id, line, reason, unnest(event_ids) AS event_id FROM reject WHERE said IS NULL AND NOT is_closed
  ), alike AS (
    SELECT file_id, line, said FROM reject WHERE said IS NOT NULL AND NOT is_closed
     UNION ALL
    SELECT file_id, NULL, said FROM possible_repair
  ), placed AS (
    SELECT *,
           row_number() OVER (PARTITION BY said ORDER BY line IS NULL, file_id, line) AS nth,
           min(file_id) FILTER (WHERE line IS NOT NULL) OVER same AS first_file,
           max(file_id) FILTER (WHERE line IS NOT NULL) OVER same AS last_file
      FROM alike
    WINDOW same AS (PARTITION BY said)
  ), counted AS (
    SELECT *, count(*) FILTER (WHERE line IS NULL AND (file_id <> first_file OR file_id <> last_file)) OVER same AS repairs
      FROM placed
    WINDOW same AS (PARTITION BY said)
  )
  (SELECT file_id, line, reason FROM reject WHERE said IS NULL AND NOT is_closed
   EXCEPT
   SELECT file_id, line, reason FROM named WHERE event_id IN (SELECT event_id FROM possible_repair))
   UNION ALL
  SELECT file_id, line, 'event_id'
    FROM counted
   WHERE line IS NOT NULL AND nth > repairs);