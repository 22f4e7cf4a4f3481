-- All families of the operator pack, by the names under which they are registered.
--
-- A label has one of the `values` that stand here; `host` is one of Prosody's own hosts, `store` and `remote` are bounded by
-- number. Series of closed sets begin at zero, so that the first event is an increase.

local kinds = { "message", "presence", "iq" };
local sessions = { "c2s", "s2s", "component" };

local families = {};

-- BEGIN of logging in

families.prosody_c2s_auth_attempts = {
	type = "counter"; labels = { "host", "result" };
	help = "Logins that ended, by result: success, or the condition of the SASL failure";
	values = { result = {
		"success", "aborted", "account-disabled", "credentials-expired", "encryption-required", "incorrect-encoding",
		"invalid-authzid", "invalid-mechanism", "malformed-request", "mechanism-too-weak", "not-authorized",
		"temporary-auth-failure", "other",
	} };
};
families.prosody_c2s_auth_duration_seconds = {
	type = "histogram"; unit = "seconds"; labels = { "host" }; buckets = { 0.005, 0.025, 0.1, 0.5, 2.5, 10 };
	help = "Time from the beginning of a SASL exchange to its end";
};
families.prosody_c2s_login_duration_seconds = {
	type = "histogram"; unit = "seconds"; buckets = { 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30 };
	help = "Time from a client's connection to its session";
};
families.prosody_c2s_tls_failures = {
	type = "counter"; labels = { "cause" };
	help = "Clients with which no TLS could be agreed on, by cause";
	values = { cause = { "certificate", "cipher", "closed", "not-tls", "protocol", "other" } };
};

-- END of logging in

-- BEGIN of sessions

families.prosody_sessions = {
	type = "gauge"; labels = { "host", "state" };
	help = "Sessions of users: connected, or hibernating until the client comes back";
	values = { state = { "connected", "hibernating" } };
};
families.prosody_users_online = {
	type = "gauge"; labels = { "host" };
	help = "Users with at least one session";
};
families.prosody_sessions_opened = {
	type = "counter"; labels = { "host" };
	help = "Sessions that began";
};
families.prosody_sessions_closed = {
	type = "counter"; labels = { "host", "cause" };
	help = "Sessions that ended, by cause";
	values = { cause = { "client", "connection", "error", "hibernation", "replaced", "server", "shutdown" } };
};
families.prosody_c2s_streams_closed = {
	type = "counter"; labels = { "host", "condition" };
	help = "Streams of clients that Prosody closed with an error, by its condition";
	values = { condition = {
		"conflict", "connection-timeout", "host-unknown", "not-authorized", "not-well-formed", "policy-violation", "reset",
		"resource-constraint", "system-shutdown", "undefined-condition", "other",
	} };
};
families.prosody_smacks_resumptions = {
	type = "counter"; labels = { "host" };
	help = "How often clients have resumed a session";
};

-- END of sessions

-- BEGIN of stanzas

families.prosody_stanzas = {
	type = "counter"; labels = { "direction", "session", "kind" };
	help = "Stanzas that were received from sessions, and those sent to them";
	values = { direction = { "in", "out" }; session = sessions; kind = kinds };
};
families.prosody_stanza_errors = {
	type = "counter"; labels = { "kind", "condition" };
	help = "Errors sent in answer to stanzas, by their condition";
	values = { kind = kinds; condition = {
		"bad-request", "conflict", "feature-not-implemented", "forbidden", "gone", "internal-server-error", "item-not-found",
		"jid-malformed", "not-acceptable", "not-allowed", "not-authorized", "payment-required", "policy-violation",
		"recipient-unavailable", "redirect", "registration-required", "remote-server-not-found", "remote-server-timeout",
		"resource-constraint", "service-unavailable", "subscription-required", "undefined-condition", "unexpected-request",
		"other",
	} };
};
families.prosody_stanza_processing_duration_seconds = {
	type = "histogram"; unit = "seconds"; labels = { "session", "kind" }; buckets = { 0.001, 0.01, 0.1, 1, 5 };
	help = "Time until all that handles a stanza has returned, waiting included";
	values = { session = sessions; kind = kinds };
};
families.prosody_traffic_bytes = {
	type = "counter"; unit = "bytes"; labels = { "direction", "session" };
	help = "Bytes from and to sessions, without what TLS adds and without BOSH";
	-- External components have no filters that would see them.
	values = { direction = { "in", "out" }; session = { "c2s", "s2s" } };
};
families.prosody_offline_messages = {
	type = "counter"; labels = { "host", "outcome" };
	help = "Messages for users who are offline: stored, delivered later, or refused";
	values = { outcome = { "stored", "delivered", "refused" } };
};
families.prosody_archive_messages = {
	type = "counter"; labels = { "host", "kind" };
	help = "Messages that were archived, of users and of rooms";
	values = { kind = { "user", "room" } };
};
families.prosody_push_notifications = {
	type = "counter"; labels = { "host", "outcome" };
	help = "Push notifications that were sent, and what the push services have answered";
	values = { outcome = { "sent", "ok", "error" } };
};

-- END of stanzas

-- BEGIN of other servers

families.prosody_s2s_failures = {
	type = "counter"; labels = { "host", "direction", "cause" };
	help = "Connections with other servers that failed or broke, by cause";
	values = { direction = { "in", "out" }; cause = {
		"authentication", "certificate", "connection", "dns", "policy", "refused", "rejected", "stream", "timeout", "tls", "other",
	} };
};
families.prosody_s2s_bounced_stanzas = {
	type = "counter"; labels = { "host" };
	help = "Stanzas that were returned, as their server could not be reached";
};
families.prosody_s2s_connect_duration_seconds = {
	type = "histogram"; unit = "seconds"; buckets = { 0.1, 0.5, 1, 2.5, 5, 10, 30, 90 };
	help = "Time until a connection to another server could carry stanzas";
};
families.prosody_s2s_remotes_failing = {
	type = "gauge";
	help = "Other servers with which the last attempt failed";
};
families.prosody_s2s_remote_failing = {
	type = "gauge"; labels = { "remote", "cause" }; names_others = true;
	help = "Failures in a row of the other servers that fail most";
};
families.prosody_dns_seconds = {
	type = "histogram"; unit = "seconds"; labels = { "qclass", "qtype" };
	buckets = { 1 / 1024, 1 / 256, 1 / 64, 1 / 16, 1 / 4, 1, 4 };
	help = "Time that DNS lookups take";
};

-- END of other servers

-- BEGIN of storage

families.prosody_storage_operation_duration_seconds = {
	type = "histogram"; unit = "seconds"; labels = { "store", "operation" }; buckets = { 0.0005, 0.005, 0.05, 0.5, 5 };
	help = "Time that operations on stores take";
};
families.prosody_storage_operation_errors = {
	type = "counter"; labels = { "host", "store", "operation" };
	help = "Operations on stores that failed";
};

-- END of storage

-- BEGIN of certificates

families.prosody_certificate_not_after_timestamp_seconds = {
	type = "gauge"; unit = "seconds"; labels = { "host", "service", "state" };
	help = "When a certificate ends, in seconds since 1970: the one that is loaded, and the one in its file";
	values = { state = { "loaded", "file" } };
};

-- END of certificates

-- BEGIN of modules and components

families.prosody_modules = {
	type = "gauge"; labels = { "host", "status" };
	help = "Modules by what they say of themselves; those of the whole server have the host *";
	values = { status = { "ok", "warn", "error" } };
};
families.prosody_component_connected = {
	type = "gauge"; labels = { "host" };
	help = "Whether an external component is connected: 1 if it is, else 0";
};
families.prosody_muc_rooms = {
	type = "gauge"; labels = { "host" };
	help = "Rooms in memory";
};
families.prosody_muc_occupants = {
	type = "gauge"; labels = { "host" };
	help = "Occupants of rooms: nicks, whatever number of sessions they have";
};
families.prosody_muc_joins = {
	type = "counter"; labels = { "host" };
	help = "How often somebody has entered a room";
};

-- END of modules and components

-- BEGIN of accounts

families.prosody_user_registrations = {
	type = "counter"; labels = { "host", "allowed" };
	help = "Registrations of accounts that were tried, and whether they were allowed";
	values = { allowed = { "true", "false" } };
};
families.prosody_users_registered = {
	type = "gauge"; labels = { "host" };
	help = "Accounts; counted each hour";
};
families.prosody_active_users = {
	type = "gauge"; labels = { "host", "window" };
	help = "Users who were online within the last day, week and 30 days; counted each hour";
	values = { window = { "1d", "7d", "30d" } };
};

-- END of accounts

-- BEGIN of the process

families.prosody_start_time_seconds = {
	type = "gauge"; unit = "seconds";
	help = "When Prosody started, in seconds since 1970";
};
families.prosody_lua_heap_bytes = {
	type = "gauge"; unit = "bytes";
	help = "Memory of Prosody's Lua heap";
};
families.prosody_info = {
	type = "gauge"; labels = { "version" };
	help = "Always 1; the label tells Prosody's version";
};
families.prosody_config_reloads = {
	type = "counter";
	help = "How often the configuration was read again";
};
families.prosody_config_last_reload_timestamp_seconds = {
	type = "gauge"; unit = "seconds";
	help = "When the configuration was read last, in seconds since 1970";
};
families.prosody_log_messages = {
	type = "counter"; labels = { "level" };
	help = "Lines that were logged, by level";
	values = { level = { "warn", "error" } };
};

-- END of the process

return families;
