rollback to savepoint postrider_copy;
release savepoint postrider_copy
