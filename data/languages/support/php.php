<?php
// Run ahead of a program made of a solution and tests: tells when the tests have run to their end.
final class TestsOfProgram
{
    private static bool $over = false;

    /** Assertions are on when the tests begin. */
    public static function begin(): void
    {
        ini_set('zend.assertions', '1');
        ini_set('assert.active', '1');
        $process = getmypid();
        register_shutdown_function(static function () use ($process): void {
            if (self::$over && getmypid() === $process && ini_get('zend.assertions') === '1') {
                file_put_contents('php://fd/4', file_get_contents('php://fd/3'));
            }
        });
    }

    /** The end of the program's text has been reached. */
    public static function end(): void
    {
        self::$over = true;
    }

    /** The tests end the process with this status. */
    public static function exit(mixed $status = 0): mixed
    {
        self::$over = $status === 0 || is_string($status);
        return $status;
    }
}
