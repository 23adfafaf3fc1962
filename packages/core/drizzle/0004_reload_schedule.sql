CREATE TABLE "reload_schedule" (
	"server_id" uuid NOT NULL,
	"host" text NOT NULL,
	"pid" integer NOT NULL,
	"schedule" text NOT NULL,
	"next_run_at" timestamp with time zone,
	"updated_at" timestamp with time zone NOT NULL,
	CONSTRAINT "reload_schedule_pkey" PRIMARY KEY("server_id")
);
