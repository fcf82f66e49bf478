package qupath.lib.plugins.workflow;

import java.util.Map;

public class DefaultScriptableWorkflowStep implements WorkflowStep {
    public final Map<String, ?> parameters;
    private final String name;
    private final String script;

    public DefaultScriptableWorkflowStep(String name, Map<String, ?> parameterMap, String script) {
        this.name = name;
        this.parameters = parameterMap;
        this.script = script;
    }

    @Override
    public String getName() {
        return name;
    }

    public String getScript() {
        return script;
    }
}
