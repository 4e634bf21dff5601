# Stand-in for the CMake package of a Slicer build, enough to configure an extension of scripted modules.
#
# It builds nothing. What would be installed and tested is written into files of the build folder:
# scripts.txt, resources.txt, tests.txt, and extension.txt with the extension's description.
#
# With SLICER_SOURCE, a checkout of Slicer, Slicer's own macros read the module's CMakeLists.txt.

set(Slicer_USE_FILE ${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake)
set(Slicer_EXTENSION_GENERATE_CONFIG ${CMAKE_CURRENT_LIST_DIR}/GenerateConfig.cmake)
set(Slicer_EXTENSION_CPACK ${CMAKE_CURRENT_LIST_DIR}/DescribeExtension.cmake)
set(Slicer_USE_PYTHONQT ON)
set(Slicer_ExternalData_DATA_MANAGEMENT_TARGET MedNeXtSegmentationData)
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR lib/qt-scripted-modules)
set(Slicer_QTLOADABLEMODULES_LIB_DIR lib/qt-loadable-modules)
set(Slicer_CLIMODULES_LIB_DIR lib/cli-modules)
set(Slicer_PYTHON_MODULE_TEST_TEMPLATES_DIR ${SLICER_SOURCE}/Base/QTCore/Testing/Python)
