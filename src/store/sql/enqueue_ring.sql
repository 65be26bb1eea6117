-- Wakes workers that wait for the bell
select pg_notify('postrider', '')
 where exists (select from postrider.doorbell d where d.armed_until > now())
