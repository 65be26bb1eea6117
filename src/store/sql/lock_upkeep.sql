-- Locks the row that stands for the upkeep, for the rest of the transaction; no row if somebody else has it. Only who
-- may change settings can. A step then waits for busy tables only a little
select set_config('lock_timeout', '2s', true)
  from postrider.settings where name = 'upkeep' for update skip locked
