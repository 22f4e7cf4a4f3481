"""What Prosody has counted, compared with the page and with what statsd servers have received."""


def quantity(value):
    return value if value is not None else 0


class Account:
    """The difference between what was counted and what is shown, series by series."""

    def __init__(self):
        self.compared = 0
        self.differences = []
        # As steps of counters.
        self.lost = self.twice = 0

    def compare(self, what, counted, shown):
        self.compared += 1
        shown = quantity(shown)
        if counted != shown:
            self.differences.append(f"{what}: counted {counted}, shown {shown}")
            self.lost += max(counted - shown, 0)
            self.twice += max(shown - counted, 0)


def page(entries, samples):
    account = Account()
    for entry in entries:
        name = entry["name"].replace("/", "__")
        keys = {"stanzas": ["kind"], "passing": ["number"], "shifting": ["kind", "more"]}
        of_family = keys.get(entry["name"].split("/")[1], ["kind"])
        labels = tuple(sorted(zip(["host", *of_family], entry["labels"])))

        def shown(suffix, extra=()):
            return samples.get((name + suffix, tuple(sorted(labels + extra))))
        kind = entry["kind"]
        if kind == "passing" or entry.get("gone"):
            continue
        if kind == "gauge":
            account.compare(f"{name} {labels}", entry["value"], shown(""))
        elif kind == "counter":
            account.compare(f"{name} {labels}", entry["page"], shown("_total"))
        elif kind == "times":
            account.compare(f"{name} {labels}", entry["page"], shown("_bucket", (("le", "+Inf"),)))
        else:
            account.compare(f"{name} {labels} count", entry["page"], shown("_count"))
            account.compare(f"{name} {labels} sum", entry["page_sum"], shown("_sum"))
            for threshold, count in zip(entry.get("thresholds", []), entry.get("page_buckets", [])):
                # As a strict parser reads it.
                le = shown("_bucket", (("le", str(float(threshold))),))
                le = shown("_bucket", (("le", f"{threshold:g}"),)) if le is None else le
                account.compare(f"{name} {labels} le {threshold}", count, le)
    return account


class Statsd:
    """Names of series as each dialect has them."""

    def __init__(self, account, tags):
        self.account, self.tags = account, tags

    def key(self, entry, suffix="", extra=()):
        name = "prosody." + entry["name"].replace("/", ".")
        if self.tags == "none":
            parts = [value.replace(".", "_") for value in entry["labels"]]
            return ".".join([name, *parts]) + suffix, frozenset()
        keys = ["vhost", "more"] if entry["name"].endswith("none") else ["vhost", "kind", "more"]
        tags = [f"{key}:{value}" for key, value in zip(keys, entry["labels"])]
        return name + suffix, frozenset([*tags, *extra])

    def counter(self, *key):
        return self.account.counters.get(self.key(*key))

    def gauge(self, *key):
        return self.account.gauges.get(self.key(*key))

    def bucket(self, entry, threshold):
        if self.tags == "none":
            return self.counter(entry, ".bucket." + f"{threshold:g}".replace(".", "_"))
        return self.counter(entry, ".bucket", (f"le:{threshold:g}",))

    def compare(self, entries):
        account = Account()
        for entry in entries:
            what = f"statsd {entry['name']} {entry['labels']}"
            kind = entry["kind"]
            if kind == "gauge":
                account.compare(what, entry["value"], self.gauge(entry))
            elif kind == "passing":
                start = "prosody." + entry["name"].replace("/", ".")
                shown = sum(value for (name, _), value in self.account.counters.items() if name.startswith(start))
                account.compare(what, entry["total"], shown)
            elif kind == "counter":
                account.compare(what, entry["total"], self.counter(entry))
            else:
                account.compare(what + " count", entry["total"], self.counter(entry, ".count"))
                for threshold, count in zip(entry.get("thresholds", []), entry.get("total_buckets", [])):
                    account.compare(f"{what} le {threshold}", count, self.bucket(entry, threshold))
                if kind == "summary":
                    account.compare(what + " sum", entry["total_sum"], self.counter(entry, ".sum"))
                elif kind == "histogram":
                    account.compare(what + " sum", entry["page_sum"], self.gauge(entry, ".sum"))
        return account
