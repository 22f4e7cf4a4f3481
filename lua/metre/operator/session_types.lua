-- What the types of sessions that Prosody knows are called as the label `session`.

return {
	-- A session that was resumed keeps the filters of one that is gone.
	c2s = "c2s"; c2s_unauthed = "c2s"; c2s_unbound = "c2s"; c2s_destroyed = "c2s";
	s2sin = "s2s"; s2sin_unauthed = "s2s"; s2sout = "s2s"; s2sout_unauthed = "s2s"; s2s_destroyed = "s2s";
	component = "component"; component_unauthed = "component";
};
