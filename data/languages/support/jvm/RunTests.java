package autocodegen;

import java.io.IOException;
import java.io.PrintWriter;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.engine.JupiterTestEngine;
import org.junit.platform.engine.DiscoverySelector;
import org.junit.platform.engine.discovery.DiscoverySelectors;
import org.junit.platform.launcher.LauncherDiscoveryRequest;
import org.junit.platform.launcher.core.LauncherConfig;
import org.junit.platform.launcher.core.LauncherDiscoveryRequestBuilder;
import org.junit.platform.launcher.core.LauncherFactory;
import org.junit.platform.launcher.listeners.SummaryGeneratingListener;
import org.junit.platform.launcher.listeners.TestExecutionSummary;
import org.junit.vintage.engine.VintageTestEngine;

/** Runs all JUnit tests of a folder and prints a report when one fails. */
public final class RunTests {
    private RunTests() {}

    /** {@code [strict] FOLDER}; or {@code practice FOLDER CLASS}, with tests for both ways to run them. */
    public static void main(String[] arguments) throws IOException, ReflectiveOperationException {
        String last = arguments[arguments.length - 1];
        if (arguments[0].equals("strict")) {
            Run.beStrict();
        }
        boolean isPractice = arguments[0].equals("practice");
        if (isPractice) {
            // For the classes that look for classes in a folder, where programs are and an archive's class path is not.
            new URLClassLoader(new URL[] {Path.of(arguments[1]).toUri().toURL()}).findResource("none");
        }
        PlainTests plain = PlainTests.find(Path.of(isPractice ? arguments[1] : last));
        if (plain != null) {
            boolean passed = plain.run();
            System.out.flush();
            if (!isPractice) {
                if (passed) {
                    Run.complete();
                } else {
                    System.out.print(plain.report());
                }
                System.exit(passed ? 0 : 1);
            }
        }
        List<? extends DiscoverySelector> selectors = isPractice
                ? List.of(DiscoverySelectors.selectClass(last))
                : DiscoverySelectors.selectClasspathRoots(Set.of(Path.of(last)));
        // The engines are named, not searched for on the class path.
        LauncherConfig config = LauncherConfig.builder()
                .enableTestEngineAutoRegistration(false)
                .enableLauncherSessionListenerAutoRegistration(false)
                .enableLauncherDiscoveryListenerAutoRegistration(false)
                .enablePostDiscoveryFilterAutoRegistration(false)
                .enableTestExecutionListenerAutoRegistration(false)
                .addTestEngines(new JupiterTestEngine(), new VintageTestEngine())
                .build();
        LauncherDiscoveryRequest request = LauncherDiscoveryRequestBuilder.request().selectors(selectors).build();
        SummaryGeneratingListener listener = new SummaryGeneratingListener();
        LauncherFactory.create(config).execute(request, listener);
        TestExecutionSummary summary = listener.getSummary();
        System.out.flush();
        if (summary.getTotalFailureCount() > 0) {
            PrintWriter out = new PrintWriter(System.out, true, StandardCharsets.UTF_8);
            summary.printFailuresTo(out);
            System.exit(1);
        }
        if (summary.getTestsFoundCount() == 0) {
            System.err.println("no tests found");
            System.exit(2);
        }
        long ended = summary.getTestsSucceededCount() + summary.getTestsAbortedCount()
                + summary.getTestsSkippedCount();
        if (ended == summary.getTestsFoundCount()) {
            Run.complete();
        }
        System.exit(0);
    }
}
