global using PageContent = Samepage.Simulation.PageContent;
