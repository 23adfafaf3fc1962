ALTER TABLE "ledger" DROP CONSTRAINT "ledger_status_check";--> statement-breakpoint
ALTER TABLE "duplicate" DROP CONSTRAINT "duplicate_pkey";--> statement-breakpoint
ALTER TABLE "duplicate" ALTER COLUMN "line" DROP NOT NULL;--> statement-breakpoint
ALTER TABLE "ledger" ADD COLUMN "name" text;--> statement-breakpoint
UPDATE "ledger" SET "name" = regexp_replace("path", '^.*/', '');--> statement-breakpoint
ALTER TABLE "ledger" ALTER COLUMN "name" SET NOT NULL;--> statement-breakpoint
ALTER TABLE "ledger" ADD COLUMN "header" text;--> statement-breakpoint
CREATE UNIQUE INDEX "duplicate_file_id_line_key" ON "duplicate" USING btree ("file_id","line");--> statement-breakpoint
ALTER TABLE "ledger" ADD CONSTRAINT "ledger_status_check" CHECK ("ledger"."status" IN ('loaded', 'superseded', 'pruned', 'failed'));